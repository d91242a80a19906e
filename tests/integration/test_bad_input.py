"""Bad input: a clear message, exit status 1 or 2, no traceback, and nothing that looks whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.errors import ConfigError
from facenet_core.storage import parquet
from flows.cli.main import main
from tests.support.photographs import files, write_folder, write_tar


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def manifests(root: Path) -> list[Path]:
    return list(root.rglob(storage.MANIFEST))


@pytest.fixture
def store(tmp_path: Path, prefect_server: str) -> Path:
    return tmp_path / "store"


def test_a_folder_without_images(capsys, store: Path, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "notes", {"Ann/notes.txt": b"hello"})
    status, out, err = run(capsys, "ingest", source, "--storage", store)
    assert (status, out) == (1, "")
    assert f"{source}: no images among 1 files" in err
    assert manifests(store) == []


def test_an_archive_cut_in_half(capsys, store: Path, tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "faces.tgz", files())
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    status, _, err = run(capsys, "ingest", archive, "--storage", store)
    assert status == 1
    assert f"{archive}: the archive is cut short or damaged" in err
    assert manifests(store) == []


def test_a_text_file_named_jpg_among_good_images_is_a_reject(
    capsys, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    (raw,) = undisturbed.glob("raw/tiny/*")
    rows = parquet.read_table(str(raw / "images" / parquet.part_name(0))).to_pylist()[:4]
    source = write_folder(
        tmp_path / "faces", {row["image_id"]: row["image"]["bytes"] for row in rows}
    )
    write_folder(source, {"Ann/Ann_0001.jpg": b"this is text\n"})
    status, out, err = run(capsys, "align", source, "--image_size", 64, "--storage", store)
    assert status == 0, err
    manifest = storage.open_artifact(out.splitlines()[-1], "align")
    assert manifest.counts["images"] == 5
    assert manifest.counts["rejects.undecodable"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {max_nrof_epoch: 3}", "unknown field `train.max_nrof_epoch`; did you mean"),
        ("train: [", "not valid YAML"),
        ("ingest: {source: synthetic}", "holdout: the pipeline needs photographs"),
    ],
)
def test_a_wrong_configuration(
    capsys, store: Path, tmp_path: Path, text: str, message: str
) -> None:
    config = tmp_path / "pipeline.yaml"
    config.write_text(text)
    status, _, err = run(capsys, "run", "--config", config, "--storage", store)
    assert status == 2
    assert message in err
    assert manifests(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "x", "--center-loss-facter", "1"], "did you mean --center-loss-factor?"),
        (["train", "x", "--set", "train.batch=1"], "did you mean `batch_size`?"),
        (["train", "x", "--batch-size", "many"], "batch_size"),
        (["align", "x", "--thresholds", "0.6", "0.7", "7"], "thresholds"),
        (["train", "x", "--model-def", "resnet50"], "resnet50"),
        (["train", "x"], "x: no finished artifact here"),
        (["ingest", "nowhere"], "nowhere: no such folder or archive"),
    ],
)
def test_wrong_options_and_inputs(
    capsys, store: Path, undisturbed: Path, arguments: list[str], message: str
) -> None:
    if "resnet50" in arguments:
        (crops,) = undisturbed.glob("crops/tiny/*")
        arguments[1] = str(crops)
    status, _, err = run(capsys, *arguments, "--storage", store)
    assert status in (1, 2)
    assert message in err
    assert manifests(store) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "d\udcff"],
        ["ingest", "synthetic", "--storage", "r\udcff"],
        ["compare", "a\udcff.jpg", "b.jpg", "--model", "m"],
    ],
)
def test_a_name_that_is_not_utf_8_is_refused_with_a_remedy(capsys, arguments: list[str]) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert r"\xff" in err
    assert "a name that is not UTF-8; rename it" in err


def test_a_working_folder_whose_name_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d\udcff").mkdir()
    monkeypatch.chdir(tmp_path / "d\udcff")
    with pytest.raises(ConfigError, match="a name that is not UTF-8"):
        storage.absolute("facenet-store")


@pytest.mark.parametrize("word", [[], ["train"]])
def test_wrong_usage_ends_with_status_2(capsys, word: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(word)
    assert ended.value.code == 2


def test_an_unwritable_storage_root(capsys, store: Path, folder: Path) -> None:
    store.write_text("a file is in the way")
    status, _, err = run(capsys, "ingest", folder, "--storage", store / "root")
    assert status == 1
    assert "cannot be written" in err
    assert "--storage" in err


def test_a_pairs_file_that_names_people_who_are_not_there(
    capsys, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.txt"
    lines = ["2\t1", "Nobody\t1\t2", "Ann\t1\tNobody\t1", "Nobody\t1\t2", "Ann\t1\tNobody\t1"]
    pairs.write_text("\n".join(lines) + "\n")
    (crops,) = undisturbed.glob("crops/tiny-holdout/*")
    (model,) = undisturbed.glob("models/tiny/*")
    status, _, err = run(capsys, "validate", crops, model, "--pairs", pairs, "--storage", store)
    assert status == 1
    assert str(pairs) in err
    assert "Nobody" in err
    assert manifests(store) == []


def test_a_training_set_with_a_single_identity(
    capsys, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    status, out, err = run(
        capsys, "ingest", "synthetic", "--identities", 1, "--shards", 1, "--storage", store
    )
    assert status == 0, err
    status, out, err = run(capsys, "align", out.splitlines()[-1], "--storage", store)
    assert status == 0, err
    status, _, err = run(capsys, "train", out.splitlines()[-1], "--storage", store)
    assert status == 1
    assert "identit" in err
    assert not (store / "models").exists() or manifests(store / "models") == []
