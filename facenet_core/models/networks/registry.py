"""Networks by name. A name of your own: `MODELS["mine"] = "my_package.my_module:my_function"`.

The configuration's `model_def` also takes `my_package.my_module:my_function` itself. The function
takes the arguments of `build` after `model_def` and returns a network as
`facenet_core.models.networks.squeezenet.squeezenet` does.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from facenet_core.errors import ConfigError
from facenet_core.extras import require_keras

if TYPE_CHECKING:
    import keras

# As text, because importing a network's module imports Keras and its backend, which takes seconds.
MODELS: dict[str, str] = {
    "inception_resnet_v1": "facenet_core.models.networks.inception_resnet_v1:inception_resnet_v1",
    "inception_resnet_v2": "facenet_core.models.networks.inception_resnet_v2:inception_resnet_v2",
    "squeezenet": "facenet_core.models.networks.squeezenet:squeezenet",
}
# Pixels: after their strides nothing would be left of smaller ones.
SMALLEST_IMAGE: dict[str, int] = {
    "inception_resnet_v1": 75,
    "inception_resnet_v2": 75,
    "squeezenet": 25,
}


def locate(model_def: str) -> str:
    """`module:function` of a network, without importing it.

    Raises:
        ConfigError: no network has this name.
    """
    location = MODELS.get(model_def, model_def)
    if ":" in location:
        return location
    nearest = difflib.get_close_matches(model_def.rpartition(".")[2], MODELS, n=1)
    hint = f"did you mean `{nearest[0]}`? " if nearest else ""
    raise ConfigError(
        f"model_def: no network `{model_def}`; {hint}known: {', '.join(sorted(MODELS))}, "
        "or `package.module:function`"
    )


def check_image_size(network: str, image_size: int, smallest: int) -> None:
    """Raises ConfigError where a side of `image_size` pixels is too small for the network."""
    if image_size < smallest:
        raise ConfigError(
            f"image_size: {network} needs images of {smallest} pixels or more, got {image_size}"
        )


def build(
    model_def: str,
    *,
    image_size: int,
    embedding_size: int,
    keep_probability: float = 1.0,
    weight_decay: float = 0.0,
    batch_norm_decay: float = 0.995,
    seed: int = 0,
) -> keras.Model:
    """The network: standardised images [n, s, s, 3] float32 -> prelogits [n, embedding_size].

    Args:
        model_def: a name of `MODELS`, or `module:function`.
        image_size: s, pixels.
        keep_probability: kept by dropout before the last layers, while training.
        weight_decay: each kernel adds weight_decay/2 · Σw² to the network's `losses`.
        batch_norm_decay: share that batch norm's running averages keep at each batch.
        seed: the weights follow from it; the same seed gives the same weights.

    Raises:
        ConfigError: no such network, or the images are too small for it.
        MissingPackage: Keras is not installed.
    """
    require_keras(f"The network {model_def}")
    module_name, _, function_name = locate(model_def).partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model_def: `{model_def}` cannot be imported: {error}") from error
    return builder(
        image_size=image_size,
        embedding_size=embedding_size,
        keep_probability=keep_probability,
        weight_decay=weight_decay,
        batch_norm_decay=batch_norm_decay,
        seed=seed,
    )
