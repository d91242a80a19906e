"""What the command line offers and refuses before anything is loaded."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from facenet_core.text.plural import plural
from flows.cli.context import alignment_of, context_of
from flows.cli.main import _parse, main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(words)
    return status, capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"facenet {version('facenet-pipeline')}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["comapre", "a.jpg"], "unknown command comapre; did you mean compare?"),
        (["xyzzy"], "unknown command xyzzy; see `facenet --help`"),
        (["compare", "a", "b", "--model", "m", "--workers", "3"], "unknown option --workers"),
        (["datasets", "--storage", "x"], "unknown option --storage"),
        (["classify", "predict", "a", "--output", "p.txt"], "ends in .csv or .parquet"),
        (["classify", "predict", "a", "--method", "knn"], "--method: goes with train"),
        (["classify", "train", "a", "--output", "p.csv"], "--output: goes with predict"),
        (["embed", "a", "--model", "m", "--output", "e.csv"], "ends in .parquet"),
        (["cluster", "a", "--model", "m", "--output", "c.csv"], "ends in .parquet"),
        (["compare", "a", "b", "--model", "m", "--picture", "p.jpg"], "ends in .png"),
        (["inspect", "a", "--samples", "p.jpg"], "ends in .png"),
        (["pairs", "a", "--output", "p.json"], "ends in .csv or .parquet or .txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_would_do_nothing_or_something_else_is_refused(capsys, words, message) -> None:
    status, errors = run(capsys, *words)
    assert status == 2
    assert message in errors


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("align", "config set storage storage-credentials workers dask-address verbose"),
        ("train", "config set storage storage-credentials train-workers dask-address verbose"),
        ("compare", "config storage storage-credentials"),
        ("doctor", "config storage storage-credentials dask-address"),
        ("inspect", "config storage-credentials"),
        ("datasets", "config"),
        ("credentials", "verbose"),
    ],
)
def test_a_command_offers_the_common_options_that_do_something(capsys, command, options) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage = capsys.readouterr().out.partition("where and how it runs")[2].partition("\n\n")[0]
    offered = [line.split()[0][2:] for line in usage.splitlines() if line.startswith("  --")]
    assert sorted(offered) == sorted([*options.split(), "json", "debug"])


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, ("pair",), "1 pair"),
        (0, ("pair",), "0 pairs"),
        (2000, ("person", "people"), "2,000 people"),
        (1, ("person", "people"), "1 person"),
    ],
)
def test_one_of_something_is_not_called_several(count, noun, text) -> None:
    assert plural(count, *noun) == text


def test_a_switch_that_was_not_given_leaves_the_configured_alignment(tmp_path) -> None:
    words = ["embed", "lfw", "--model", "m", "--margin", "4", "--set"]
    options = _parse([*words, "align.detect_multiple_faces=true"])
    alignment = alignment_of(options, context_of(options).settings)
    assert alignment.model_dump(exclude_unset=True) == {"detect_multiple_faces": True, "margin": 4}
