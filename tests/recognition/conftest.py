"""A small model without training, and photographs of drawn faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.models.face_model import MODEL_FILE
from facenet_core.recognition.embedder import FaceEmbedder
from facenet_core.synthetic_faces import generate
from tests.support.small_network import small_network

SIZE, DIMENSIONS = 32, 16
THRESHOLD = 0.5


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three photographs of each of two people."""
    folder = tmp_path_factory.mktemp("photographs")
    for image_id, _, data in generate.members(0, 2, 3, first_identity=0, start=0, stop=6):
        (folder / image_id).parent.mkdir(exist_ok=True)
        (folder / image_id).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def files(photographs: Path) -> list[str]:
    return sorted(str(file) for file in photographs.rglob("*.jpg"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of a model that was validated once."""
    root = str(tmp_path_factory.mktemp("store"))
    plan = storage.plan_stage(root, "train", "small", {}, [], 1)
    network = small_network(SIZE, DIMENSIONS)
    Path(plan.uri).mkdir(parents=True)
    network.save(f"{plan.uri}/{MODEL_FILE}")
    details = {
        "model_def": "small",
        "image_size": SIZE,
        "embedding_size": DIMENSIONS,
        "use_fixed_image_standardization": False,
    }
    part = storage.describe_file(plan.uri, MODEL_FILE)
    storage.publish(plan, storage.Outcome([part], {}, details), {})
    _publish_report(root, plan)
    return plan.uri


def _publish_report(root: str, model: storage.Plan) -> None:
    inputs = [storage.Input("crops", "c" * 16), storage.Input(model.uri, model.fingerprint)]
    plan = storage.plan_stage(root, "validate", "small", {}, inputs, 1)
    storage.write_bytes(f"{plan.uri}/metrics.json", b"{}")
    metrics = {
        "threshold": THRESHOLD,
        "distance_metric": "euclidean",
        "use_flipped_images": False,
        "subtract_mean": False,
        "folds": [{"val_threshold": 0.2}, {"val_threshold": 0.3}],
    }
    part = storage.describe_file(plan.uri, "metrics.json")
    storage.publish(plan, storage.Outcome([part], {}, {"metrics": metrics}), {})


@pytest.fixture(scope="session")
def embedder(model: str) -> FaceEmbedder:
    return FaceEmbedder(model, engine="keras")


@pytest.fixture
def blank() -> np.ndarray:
    """A photograph of nobody."""
    return np.full((80, 80, 3), 200, np.uint8)
