"""The networks are those of the original, to the variable."""

import importlib.util
import json
import os

import numpy as np
import pytest

from facenet_core.errors import ConfigError
from facenet_core.models.networks import registry

REFERENCE = {"inception_resnet_v1": 512, "inception_resnet_v2": 128, "squeezenet": 128}
TF1_KINDS = {"kernel": "weights", "bias": "biases"}


@pytest.fixture(scope="module")
def reference(shared):
    return shared / "reference"


@pytest.fixture(scope="module")
def tf1_weights(reference):
    spec = importlib.util.spec_from_file_location("tf1_weights", reference / "tf1_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tf1_name(network, variable):
    """The variable's name in the original's graph: a matter of spelling only."""
    layer, kind = variable.path.split("/")
    return f"{network.name}/{layer.replace('.', '/')}/{TF1_KINDS.get(kind, kind)}"


@pytest.mark.parametrize("model_def", REFERENCE)
def test_gives_what_the_original_graph_gives_for_the_same_weights(
    model_def, reference, tf1_weights
):
    size = REFERENCE[model_def]
    network = registry.build(model_def, image_size=160, embedding_size=size)
    names = {tf1_name(network, v): list(v.shape) for v in network.variables}
    variables = reference / f"tf1_{model_def}_{size}_variables.json"
    assert names == json.loads(variables.read_text())

    for variable in network.variables:
        name = tf1_name(network, variable)
        variable.assign(tf1_weights.reference_weight(name, tuple(variable.shape)))
    prelogits = np.asarray(network(tf1_weights.reference_images()))
    embeddings = prelogits / np.linalg.norm(prelogits, axis=1, keepdims=True)

    expected = np.load(reference / f"tf1_{model_def}_{size}.npz")
    scale = np.abs(expected["prelogits"]).max()
    np.testing.assert_allclose(prelogits, expected["prelogits"], rtol=1e-3, atol=1e-5 * scale)
    np.testing.assert_allclose(embeddings, expected["embeddings"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model_def", "embedding_size", "values"),
    [
        ("squeezenet", 128, 1_382_760),
        ("inception_resnet_v1", 128, 22_808_144),
        ("inception_resnet_v1", 512, 23_497_424),
        ("inception_resnet_v2", 128, 54_533_728),
    ],
)
def test_has_as_many_values_as_the_original(model_def, embedding_size, values):
    network = registry.build(model_def, image_size=96, embedding_size=embedding_size)
    assert network.count_params() == values
    assert network.output_shape == (None, embedding_size)


@pytest.mark.parametrize(
    ("model_def", "smallest"),
    [
        ("squeezenet", 25),
        ("inception_resnet_v1", 75),
        pytest.param("inception_resnet_v2", 75, marks=pytest.mark.slow),
    ],
)
def test_the_smallest_image_it_says_is_the_smallest_it_takes(model_def, smallest):
    options = {"embedding_size": 2}
    assert registry.build(model_def, image_size=smallest, **options).output_shape == (None, 2)
    with pytest.raises(ConfigError, match=f"{smallest} pixels or more, got {smallest - 1}"):
        registry.build(model_def, image_size=smallest - 1, **options)


def build_small(**options):
    return registry.build("squeezenet", image_size=32, embedding_size=8, **options)


def test_weights_are_a_function_of_the_seed():
    first, same, other = (build_small(seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_layers_of_equal_shape_start_differently():
    network = build_small()
    kernels = [
        np.asarray(network.get_layer(f"{fire}.expand.3x3").kernel) for fire in ("fire6", "fire7")
    ]
    assert not np.array_equal(*kernels)


def test_weight_decay_is_half_the_squared_kernels_and_nothing_else():
    network = build_small(weight_decay=0.1)
    kernels = [v for v in network.trainable_variables if v.path.endswith("kernel")]
    expected = sum(0.1 / 2 * np.square(np.asarray(k)).sum() for k in kernels)
    assert float(sum(network.losses)) == pytest.approx(float(expected), rel=1e-5)
    assert build_small().losses == []


def test_dropout_acts_only_while_training():
    network = build_small(keep_probability=0.5)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    assert np.array_equal(network(images), network(images))
    assert not np.array_equal(network(images, training=True), network(images, training=True))


def test_batch_norm_keeps_the_configured_share():
    norm = build_small(batch_norm_decay=0.9).get_layer("conv1.BatchNorm")
    assert (norm.momentum, norm.epsilon, norm.gamma) == (0.9, 0.001, None)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"did you mean `squeezenet`.*inception_resnet_v1"):
        registry.locate("models.squeeznet")


def test_a_network_of_ones_own_is_named_by_module_and_function(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text("def tiny(**options):\n    return options\n")
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    built = registry.build("my_networks:tiny", image_size=40, embedding_size=3)
    assert (built["image_size"], built["embedding_size"]) == (40, 3)
    with pytest.raises(ConfigError, match="cannot be imported"):
        registry.build("my_networks:huge", image_size=40, embedding_size=3)
