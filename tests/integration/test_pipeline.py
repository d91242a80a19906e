"""The whole pipeline on a real Prefect server, real Dask workers and real TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import prefect
import pytest

from facenet_core import storage
from facenet_core.storage import parquet
from flows.cli.main import main
from tests.support.tiny import facenet


def manifests(root: Path) -> dict[str, storage.Manifest]:
    """Every artifact below a root, by its path relative to it."""
    return {
        str(file.parent.relative_to(root)): storage.read_manifest(str(file.parent))
        for file in sorted(root.rglob(storage.MANIFEST))
    }


def times(root: Path) -> dict[str, int]:
    """When each file of a root was last written."""
    return {str(f.relative_to(root)): f.stat().st_mtime_ns for f in root.rglob("*") if f.is_file()}


def test_every_stage_leaves_an_artifact(undisturbed: Path) -> None:
    artifacts = [path.rsplit("/", 1)[0] for path in manifests(undisturbed)]
    assert artifacts == [
        "crops/tiny",
        "crops/tiny-holdout",
        "models/tiny",
        "raw/tiny",
        "raw/tiny-holdout",
        "reports/tiny",
    ]


def test_every_image_is_a_crop_or_a_reject(undisturbed: Path) -> None:
    for path, manifest in manifests(undisturbed).items():
        if not path.startswith("crops"):
            continue
        ids = []
        for folder in ("crops", "rejects"):
            for uri in storage.Artifact(str(undisturbed / path), manifest).part_uris(folder):
                ids += parquet.read_table(uri, ["image_id"])["image_id"].to_pylist()
        raw = storage.open_artifact(manifest.inputs[0].uri, "ingest")
        expected = []
        for uri in raw.part_uris("images"):
            expected += parquet.read_table(uri, ["image_id"])["image_id"].to_pylist()
        assert sorted(ids) == sorted(expected)
        assert len(ids) == manifest.counts["images"]
        assert manifest.counts["aligned"] + manifest.counts["rejects"] == len(ids)


def test_lineage_leads_from_the_report_to_the_photographs(undisturbed: Path) -> None:
    made = {manifest.fingerprint: manifest for manifest in manifests(undisturbed).values()}
    (report,) = (manifest for manifest in made.values() if manifest.stage == "validate")
    crops, model = (made[source.fingerprint] for source in report.inputs)
    assert (crops.name, model.stage) == ("tiny-holdout", "train")
    assert made[crops.inputs[0].fingerprint].name == "tiny-holdout"
    assert made[model.inputs[0].fingerprint].name == "tiny"


def test_the_same_command_again_finds_everything_made_and_prints_its_figures_as_json(
    undisturbed: Path, tiny_config: Path
) -> None:
    before = times(undisturbed)
    status, output, errors = facenet(
        "run", "--config", tiny_config, "--storage", undisturbed, "--json"
    )
    assert status == 0, errors
    assert times(undisturbed) == before
    printed = json.loads(output)
    assert printed["uri"].startswith(str(undisturbed / "reports" / "tiny"))
    metrics = json.loads((Path(printed["uri"]) / "metrics.json").read_text())
    for name in ("accuracy", "accuracy_std", "val_rate", "val_rate_std", "far", "auc", "eer"):
        assert printed[name] == metrics[name]
    assert printed["pairs"] == 40
    assert set(printed["artifacts"]) >= {"raw", "crops", "model", "report"}
    assert all(Path(uri).is_dir() for uri in printed["artifacts"].values())


def test_the_stages_run_alone_give_the_same_artifacts(
    capsys, undisturbed: Path, tiny_config: Path, tmp_path: Path, prefect_server: str
) -> None:
    common = ("--config", tiny_config, "--storage", tmp_path)

    def last_line(*arguments: object) -> str:
        # In this process: what starting one for each command shows is shown elsewhere.
        status = main([str(argument) for argument in (*arguments, *common)])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out.splitlines()[-1]

    raw = last_line("ingest", "synthetic")
    crops = last_line("align", raw)
    model = last_line("train", crops)
    holdout = last_line("ingest", "synthetic", "--identities", 8, "--images-per-identity", 4,
                        "--first_identity", 100, "--name", "tiny-holdout")  # fmt: skip
    report = last_line("validate", last_line("align", holdout), model)
    assert Path(report).relative_to(tmp_path) == next(undisturbed.glob("reports/*/*")).relative_to(
        undisturbed
    )
    for path, manifest in manifests(undisturbed).items():
        if path.startswith(("raw", "crops")):
            assert storage.read_manifest(str(tmp_path / path)).parts == manifest.parts


HOSTILE_LOGGING = """
version: 1
formatters:
  any: {"()": os.system, command: touch ran}
"""


def test_it_works_without_a_server_from_any_folder_and_runs_no_code_that_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    for module in ("uvicorn", "multiprocessing", "pickle", "prefect", "distributed", "PIL"):
        Path(f"{module}.py").write_text("open('ran', 'w'); raise SystemExit(3)")
    Path("logging.yml").write_text(HOSTILE_LOGGING)
    Path("prefect.toml").write_text('[logging]\nconfig_path = "logging.yml"\n')
    Path(".env").write_text("PREFECT_LOGGING_SETTINGS_PATH=logging.yml\n")
    made = facenet("ingest", "synthetic", "--identities", 2, "--images-per-identity", 1,
                   "--shards", 1, "--name", "faces", "--workers", 1)  # fmt: skip
    status, output, errors = made
    assert status == 0, errors
    assert not Path("ran").exists()
    assert [file.name for file in Path("prefect").rglob("*.db")] == [
        f"prefect-{prefect.__version__}.db"
    ]
    assert output.splitlines()[-1].startswith(str(tmp_path / "facenet-store" / "raw" / "faces"))
    assert "Traceback" not in errors
