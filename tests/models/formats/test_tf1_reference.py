"""Imported models give the numbers that the original's graphs gave."""

import numpy as np
import pytest

from facenet_core.models.formats import weights
from tests.support import tf1_models

MODELS = [
    "squeezenet_128",
    pytest.param("inception_resnet_v1_512", marks=pytest.mark.slow),
    pytest.param("inception_resnet_v2_128", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", ["checkpoint", "frozen"])
@pytest.mark.parametrize("model", MODELS)
def test_an_imported_model_gives_the_original_numbers(model, kind, shared, tmp_path):
    shapes, weight, expected = tf1_models.reference(shared, model)
    if kind == "checkpoint":
        path = tf1_models.write_checkpoint(tmp_path, shapes, weight)
    else:
        path = tf1_models.write_frozen(tmp_path / "20170512-110547.pb", shapes, weight)

    embedder = weights.load_model(str(path))

    prelogits = np.asarray(embedder.network(expected["images"]))
    embeddings = prelogits / np.linalg.norm(prelogits, axis=1, keepdims=True)
    scale = np.abs(expected["prelogits"]).max()
    np.testing.assert_allclose(prelogits, expected["prelogits"], rtol=1e-3, atol=1e-5 * scale)
    np.testing.assert_allclose(embeddings, expected["embeddings"], atol=1e-5, rtol=0)
    assert embedder.embedding_size == int(model.rpartition("_")[2])
