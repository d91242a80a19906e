"""Validation from the command line: pairs of one's own, verification sets, two models."""

from __future__ import annotations

import http.server
import json
import os
import pickle
import shutil
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.datasets.pairs import files
from facenet_core.storage import parquet
from flows.cli.main import main
from tests.support.tiny import facenet


@pytest.fixture(scope="module")
def crops(undisturbed: Path) -> str:
    (artifact,) = (undisturbed / "crops" / "tiny-holdout").iterdir()
    return str(artifact)


@pytest.fixture(scope="module")
def model(undisturbed: Path) -> str:
    (artifact,) = (undisturbed / "models" / "tiny").iterdir()
    return str(artifact)


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_published_model_measures_the_same_on_openvino_as_on_keras(shared, tmp_path) -> None:
    """20170512-110547 on the 1,000 pairs of LFW's View 1."""
    pytest.importorskip("openvino")
    data, model = shared / "data/lfw-dev", shared / "models/facenet_keras.h5"
    pairs = data / "pairsDevTest.txt"
    results = {}
    for engine in ("openvino", "keras"):
        options = ["--engine", engine, "--name", engine, "--storage", tmp_path, "--json"]
        words = ["validate", data / "lfw-dev.tgz", model, "--pairs", pairs, *options]
        status, out, err = facenet(*words)
        assert status == 0, err
        results[engine] = json.loads(out)
    assert results["keras"]["pairs"] == 1000
    assert results["keras"]["accuracy"] > 0.98
    for name in ("accuracy", "val_rate", "auc", "eer", "threshold"):
        assert results["openvino"][name] == pytest.approx(results["keras"][name], abs=1e-4), name


def test_photographs_are_aligned_as_the_crops_of_the_model_unless_that_is_done(
    undisturbed, crops, model, tmp_path
) -> None:
    """The raw photographs of the run: their crops are there, and the report names them."""
    root = tmp_path / "store"
    shutil.copytree(undisturbed, root)
    (raw,) = (root / "raw" / "tiny-holdout").iterdir()
    options = ["--lfw-nrof-folds", 2, "--pairs-per-fold", 10, "--storage", root, "--json"]
    status, out, err = facenet("validate", raw, model, *options)
    assert status == 0, err
    uri = json.loads(out)["uri"]
    manifest = storage.open_artifact(uri, "validate")
    assert manifest.inputs[0].uri == storage.join(str(root), "crops", *Path(crops).parts[-2:])
    status, out, err = facenet("validate", crops, model, *options, "--margin", 0)
    assert status == 0, err
    assert json.loads(out)["uri"] == uri
    assert f"margin: 0 has no effect: {crops} are crops already, made with 16" in err


@pytest.mark.slow
def test_a_data_set_is_fetched_aligned_and_measured_on_its_own_pairs(
    undisturbed, model, tmp_path
) -> None:
    """Two models side by side on a data set of a site's catalogue, with other crops than theirs."""
    site, root = tmp_path / "site", tmp_path / "store"
    site.mkdir()
    people: dict[str, list[str]] = {}
    (raw,) = (undisturbed / "raw" / "tiny-holdout").iterdir()
    with zipfile.ZipFile(site / "people.zip", "w") as archive:
        for part in storage.open_artifact(str(raw), "ingest").part_uris("images"):
            for row in parquet.read_table(part).to_pylist():
                archive.writestr(row["image_id"], row["image"]["bytes"])
                people.setdefault(row["identity"], []).append(row["image_id"])
    (a, b, c, d) = list(people.values())[:4]
    rows = [(0, a[0], a[1], 1), (0, a[0], b[0], 0), (1, c[0], c[1], 1), (1, c[0], d[0], 0)]
    lines = ["fold,image_id_a,image_id_b,same", *(",".join(map(str, row)) for row in rows)]
    (site / "pairs.csv").write_text("\n".join(lines))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        files = {name: {"name": name, "urls": [url + name]} for name in os.listdir(site)}
        entry = {"title": "People", "archive": files["people.zip"], "files": [files["pairs.csv"]]}
        catalogue = tmp_path / "catalogue.json"
        catalogue.write_text(json.dumps({"people": entry}))
        options = ["--storage", root, "--json", "--margin", 20, "--workers", 2]
        words = ["validate", "people", model, model, *options]
        status, out, err = facenet(*words, FACENET_CATALOGUE=str(catalogue))
        server.shutdown()
    assert status == 0, err
    first = json.loads(out)
    assert first["pairs"] == 4
    report = storage.open_artifact(first["comparison"]["reports"][0], "validate")
    crops = storage.open_artifact(report.inputs[0].uri, "align")
    assert (crops.name, crops.config["image_size"], crops.config["margin"]) == ("people", 72, 20)
    # The server is gone: everything is there.
    status, out, err = facenet(*words, FACENET_CATALOGUE=str(catalogue))
    assert status == 0, err
    assert json.loads(out)["uri"] == first["uri"]


@pytest.mark.slow
def test_the_classic_commands_run_as_they_are_written(
    undisturbed: Path, crops: str, tmp_path: Path
) -> None:
    """Of the wiki of davidsandberg/facenet, on smaller pictures and for less time."""
    raw = next((undisturbed / "raw" / "tiny-holdout").iterdir())
    where = f"--storage {tmp_path / 'store'} --workers 2"
    line = f"align {raw} --image_size 72 --margin 16 --gpu_memory_fraction 0.6 {where}"
    status, out, err = facenet(*line.split())
    assert status == 0, err
    assert out.splitlines()[-1].endswith(Path(crops).name)
    (training,) = (undisturbed / "crops" / "tiny").iterdir()
    pairs = tmp_path / "pairs.txt"
    line = f"pairs {crops} --folds 2 --per-fold 8 --output {pairs}"
    assert main(line.split()) == 0
    line = (
        f"train {training} --image_size 64 --model_def models.squeezenet --lfw_dir {crops} "
        f"--lfw_pairs {pairs} --lfw_nrof_folds 2 "
        "--optimizer RMSPROP --learning_rate -1 --max_nrof_epochs 1 --keep_probability 0.8 "
        "--random_crop --random_flip --learning_rate_schedule_file "
        "data/learning_rate_schedule_classifier_casia.txt --weight_decay 5e-5 "
        "--center_loss_factor 1e-2 --center_loss_alfa 0.9 --batch_size 8 "
        f"--gpu_memory_fraction 0.6 --epoch_size 2 --storage {tmp_path / 'store'}"
    )
    status, out, err = facenet(*line.split())
    assert status == 0, err
    model = storage.open_artifact(out.splitlines()[-1], "train")
    assert (model.config["optimizer"], model.config["model_def"]) == ("rmsprop", "squeezenet")
    assert "0: 0.05" in model.config["learning_rate_schedule"]
