"""An installation that only uses models: Keras, TensorFlow and JAX cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facenet_core.synthetic_faces import generate
from tests.support.small_artifacts import publish_model
from tests.support.small_network import small_network

# Read by every Python process, Dask's workers too. What is None in `sys.modules` is not installed.
HIDE = "import sys; sys.modules.update(dict.fromkeys({packages!r}))"
KERAS = ["keras", "tensorflow", "jax"]
SCRIPT = """
import contextlib, io, json, sys
from flows.cli.main import main
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: status = main(words)
        except SystemExit as ended: status = ended.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture
def run(tmp_path: Path):
    """A function that runs commands, one after another, where packages are not installed."""

    def facenet(packages: list[str], *commands: list[object]) -> list[tuple[int, str, str]]:
        (tmp_path / "sitecustomize.py").write_text(HIDE.format(packages=packages))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            input=json.dumps([[str(word) for word in words] for words in commands]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    return facenet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("models"))
    return publish_model(root, "small", network=small_network())


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Two of each of three people."""
    files = []
    for image_id, _, data in generate.members(0, 3, 2, first_identity=0, start=0, stop=6):
        files.append(tmp_path / "photographs" / image_id)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(data)
    return files


def test_models_are_used_without_keras(
    prefect_server, run, made_site, model, photographs, tmp_path
) -> None:
    raw, crops = made_site.raw, made_site.crops
    folder, table = tmp_path / "photographs", tmp_path / "table.parquet"
    examples = tmp_path / "people.parquet"
    options = ["--storage", tmp_path / "store"]
    pairs = ["--pairs", "generate", "--lfw-nrof-folds", "2", "--pairs-per-fold", "3"]
    commands = [
        ["compare", *photographs[:2], "--model", model, *options],
        ["embed", folder, "--model", model, "--output", table, *options],
        ["classify", "train", table, "--classifier", examples, *options],
        ["classify", "predict", folder, "--model", model, "--classifier", examples, *options],
        ["cluster", table, *options],
        ["find", photographs[0], "--in", table, "--model", model, *options],
        ["audit", crops, "--model", model, *options],
        ["align", raw, "--image-size", "64", "--margin", "8", *options],
        ["validate", crops, model, *pairs, *options],
        ["doctor", *options, "--json"],
    ]
    answers = run(KERAS, *commands)
    for words, (status, _, errors) in zip(commands, answers, strict=True):
        assert status == 0, (words, errors)
    report = json.loads((Path(answers[8][1].splitlines()[-1]) / "manifest.json").read_text())
    assert report["details"]["runtime"]["engine"] == "openvino"
    findings = {finding["what"]: finding for finding in json.loads(answers[9][1])}
    assert findings["models"]["found"] == "run on openvino"
    assert findings["training"]["state"] == "note"
    assert "facenet-pipeline[cpu]" in findings["training"]["remedy"]


def test_what_needs_keras_names_the_extra_before_any_work(run, made_site, model) -> None:
    crops = made_site.crops
    commands = [
        ["train", crops],
        ["export", model, "--format", "onnx"],
        ["import", model],
        ["compare", "a.jpg", "b.jpg", "--model", model, "--engine", "keras"],
        ["align", crops, "--detector-engine", "tensorflow"],
    ]
    for status, _, errors in run(KERAS, *commands):
        assert status == 2
        assert "pip install 'facenet-pipeline[cpu]'" in errors
        assert len(errors.splitlines()) == 1


def test_without_any_engine_the_extra_is_named_once_before_any_work(
    run, made_site, model, tmp_path
) -> None:
    raw, crops = made_site.raw, made_site.crops
    root = tmp_path / "store"
    commands = [
        ["align", raw, "--storage", root],
        ["compare", "a.jpg", "b.jpg", "--model", model],
        ["validate", crops, model, "--storage", root],
        ["doctor", "--json", "--storage", root],
    ]
    *answers, (status, found, _) = run([*KERAS, "openvino", "onnxruntime"], *commands)
    for answer in answers:
        assert (answer[0], len(answer[2].splitlines())) == (2, 1), answer
        assert "pip install 'facenet-pipeline[use]'" in answer[2]
    assert not root.exists()
    assert status == 1
    findings = {finding["what"]: finding for finding in json.loads(found)}
    assert {name for name, f in findings.items() if f["state"] == "failed"} == {
        "detector",
        "models",
    }
    assert "facenet-pipeline[use]" in findings["detector"]["found"]
