"""The copy of a network that is trained: faster layers, and half precision where asked for.

On a CPU, in float32, it keeps less for the backward pass, see `recomputation`.

What is saved is the network itself, made of plain Keras layers in float32, so that the file opens
without this package and under any engine.
"""

from __future__ import annotations

import keras

from facenet_core.training.engine import convolution, devices
from facenet_core.training.engine.batch_norm import FusedBatchNormalization
from facenet_core.training.engine.convolution import ScaledConv2D
from facenet_core.training.engine.recomputation import frugal_class
from facenet_core.training.engine.weight_decay import FusedL2, LateL2


def training_copy(network: keras.Model, mixed_precision: str) -> keras.Model:
    """A copy of a Functional network with the same variables in the same order.

    Args:
        mixed_precision: `off`, or the half precision that layers compute in; their variables stay
            float32.
    """
    tensorflow = keras.backend.backend() == "tensorflow"
    on_cpu = tensorflow and not devices.has_gpu()
    # Half precision takes half of the memory by itself.
    frugal = on_cpu and mixed_precision == "off"
    factors = convolution.factors(network) if on_cpu else {}
    # A layer that is called twice would take its penalty's gradient twice, and so would those of an
    # inner model that is; these are not among the network's own.
    called_once = {id(layer) for layer in network.layers if len(layer._inbound_nodes) == 1}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in factors and type(layer) is keras.layers.Rescaling:
            return keras.layers.Identity(name=layer.name, autocast=False)
        config = layer.get_config()
        if mixed_precision != "off":
            config["dtype"] = f"mixed_{mixed_precision}"
        decay = getattr(layer, "kernel_regularizer", None)
        if tensorflow and decay is not None and type(decay) is keras.regularizers.L2:
            late = frugal and type(layer) is keras.layers.Conv2D and id(layer) in called_once
            config["kernel_regularizer"] = (LateL2 if late else FusedL2)(float(decay.l2))
        # With an offset and without a scale, as in the networks of the original.
        plain_norm = type(layer) is keras.layers.BatchNormalization and (
            layer.center and not layer.scale
        )
        if not (tensorflow and plain_norm):  # other engines' compilers fuse by themselves
            kind = frugal_class(layer) if frugal else type(layer)
            if on_cpu and kind is keras.layers.Conv2D:
                kind = ScaledConv2D
            cloned = kind.from_config(config)
            if isinstance(cloned, ScaledConv2D):
                cloned.factor = factors.get(layer.name, 1.0)
            return cloned
        # Without autocasting, inputs stay in half precision and variables do not come in it.
        norm = FusedBatchNormalization.from_config(config | {"autocast": False})
        norm.frugal = frugal
        return norm

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy
