"""Validation from the command line: pairs of one's own, verification sets, two models."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.datasets.pairs import files
from facenet_core.storage import parquet
from flows.cli.main import main
from tests.support.tiny import facenet


@pytest.fixture(scope="module")
def crops(undisturbed: Path) -> str:
    (results,) = (undisturbed / "crops" / "tiny-holdout").iterdir()
    return str(results)


@pytest.fixture(scope="module")
def model(undisturbed: Path) -> str:
    (results,) = (undisturbed / "models" / "tiny").iterdir()
    return str(results)


def test_pairs_are_drawn_and_written_in_lfws_format(crops, tmp_path, capsys) -> None:
    output = str(tmp_path / "pairs.txt")
    assert main(["pairs", crops, "--folds", "2", "--per-fold", "8", "--output", output]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == output
    assert len(files.read(output, nrof_folds=10)) == 2 * 2 * 8
    assert main(["pairs", crops, "--folds", "2", "--per-fold", "900", "--output", output]) == 1
    assert "900 + 900 pairs in each of 2 folds" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        main(["pairs", crops, "--folds", "1"])
    assert refused.value.code == 2


def test_three_models_are_too_many(crops, model, capsys) -> None:
    assert main(["validate", crops, model, model, model]) == 2
    assert "3 models; one is measured, two are compared" in capsys.readouterr().err


@pytest.mark.slow
def test_a_verification_set_measures_and_compares_models(crops, model, tmp_path) -> None:
    """The set's images are crops of 4 people: the first two of one, then one of each of two."""
    images: dict[str, list[bytes]] = {}
    for part in storage.open_artifact(crops, "align").part_uris("crops"):
        for row in parquet.read_table(part, ["identity", "image"]).to_pylist():
            images.setdefault(row["identity"], []).append(row["image"]["bytes"])
    first, second, third, fourth = list(images.values())[:4]
    content = [*first[:2], first[0], second[0], *third[:2], third[0], fourth[0]]
    (tmp_path / "set.bin").write_bytes(pickle.dumps((content, [True, False] * 2)))
    root = str(tmp_path / "store")
    options = ["--lfw-nrof-folds", "2", "--storage", root, "--json"]
    status, out, err = facenet("validate", tmp_path / "set.bin", model, model, *options)
    assert status == 0, err
    result = json.loads(out)
    fingerprint = storage.open_artifact(model, "train").fingerprint
    assert result["comparison"]["models"] == [f"tiny {fingerprint[:6]}"] * 2
    assert result["comparison"]["figures"]["accuracy"]["difference"] == 0
    assert result["pairs"] == 4
    for report in result["comparison"]["reports"]:
        manifest = storage.open_artifact(report, "validate")
        assert manifest.counts == {"pairs": 4, "pairs_skipped": 0, "images": 6}
        assert manifest.inputs[0].uri.startswith(storage.join(root, "crops", "set"))
        assert manifest.details["metrics"]["interval_unit"] == "pair"
