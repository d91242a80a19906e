"""The variables of facenet-pytorch's InceptionResnetV1, by the names of the original's graph.

https://github.com/timesler/facenet-pytorch has the original's network in PyTorch. Its kernels have
other orders of axes, and its batch norm has a factor for each channel, which is 1 in the published
files. Another one is brought into kernel and mean: γ(Wx − μ)/σ = ((γW)x − γμ)/σ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facenet_core.errors import ModelError
from facenet_core.models.formats.variables import Variables, listed, open_error

_SCOPE = "InceptionResnetV1"
_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3", "4b_3x3")
# The convolutions of each branch, as the original names them; a branch of one is no list there.
_BLOCK35 = (("1x1",), ("0a_1x1", "0b_3x3"), ("0a_1x1", "0b_3x3", "0c_3x3"))
_BLOCK17 = (("1x1",), ("0a_1x1", "0b_1x7", "0c_7x1"))
_BLOCK8 = (("1x1",), ("0a_1x1", "0b_1x3", "0c_3x1"))
_MIXED_6A = (("1a_3x3",), ("0a_1x1", "0b_3x3", "1a_3x3"))
_MIXED_7A = (("0a_1x1", "1a_3x3"), ("0a_1x1", "1a_3x3"), ("0a_1x1", "0b_3x3", "1a_3x3"))
_PARALLEL = "module."  # what DataParallel puts before each name
_LOGITS = {"logits.weight": "Logits/weights", "logits.bias": "Logits/biases"}


@contextmanager
def open_safetensors(source: str, path: Path) -> Iterator[Variables]:
    """The arrays of a `.safetensors` file, by their names there, for the time of the block.

    Raises:
        ModelError: its header does not describe the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            yield Variables(source, shapes, file.get_tensor)
    except SafetensorError as error:
        raise open_error(source, path, "a safetensors file", error) from None


def translate(state: Variables) -> Variables:
    """A state dict's variables as the original's graph has them.

    Raises:
        ModelError: it is of another network, or a part of it is missing.
    """
    prefix = _PARALLEL if all(name.startswith(_PARALLEL) for name in state.shapes) else ""
    sources = _sources()
    needed = {f"{prefix}{name}" for names, _ in sources.values() for name in names}
    if missing := sorted(needed - state.shapes.keys()):
        raise ModelError(
            f"{state.source}: {len(missing)} of {len(needed)} tensors of facenet-pytorch's "
            f"InceptionResnetV1 are missing: {listed(missing)}; it has "
            f"{listed(sorted(state.shapes)) or 'none'}"
        )

    def read(name: str) -> np.ndarray:
        names, compute = sources[name]
        return compute(*(state.read(f"{prefix}{part}") for part in names))

    for torch_name, name in _LOGITS.items():
        if f"{prefix}{torch_name}" in state.shapes:
            sources[name] = ((torch_name,), np.transpose)
            needed.add(f"{prefix}{torch_name}")
    shapes = {
        name: _shape(name, state.shapes[f"{prefix}{names[0]}"])
        for name, (names, _) in sources.items()
    }
    counted = {name for name in state.shapes if name.endswith(".num_batches_tracked")}
    left_over = state.shapes.keys() - needed - counted
    return Variables(state.source, shapes | {n: state.shapes[n] for n in left_over}, read)


_Sources = dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]]


def _sources() -> _Sources:
    """What each variable is made of: names in the state dict, and how to join them."""
    sources: _Sources = {}
    for module, scope in _normalised_layers().items():
        weight, norm = f"{module}.conv.weight", f"{module}.bn"
        if module == "last":
            weight, norm = "last_linear.weight", "last_bn"
        sources[f"{scope}/weights"] = ((weight, f"{norm}.weight"), _scaled_kernel)
        sources[f"{scope}/BatchNorm/beta"] = ((f"{norm}.bias",), np.asarray)
        means = (f"{norm}.running_mean", f"{norm}.weight")
        sources[f"{scope}/BatchNorm/moving_mean"] = (means, np.multiply)
        sources[f"{scope}/BatchNorm/moving_variance"] = ((f"{norm}.running_var",), np.asarray)
    for module, scope in _blocks().items():
        if "mixed" not in module:
            sources[f"{scope}/Conv2d_1x1/weights"] = ((f"{module}.conv2d.weight",), _kernel)
            sources[f"{scope}/Conv2d_1x1/biases"] = ((f"{module}.conv2d.bias",), np.asarray)
    return sources


def _normalised_layers() -> dict[str, str]:
    """Modules with batch norm, and their scopes in the original's graph."""
    layers = {f"conv2d_{name[:2]}": f"{_SCOPE}/Conv2d_{name}" for name in _STEM}
    for module, scope in _blocks().items():
        for number, branch in enumerate(_branches(module)):
            for position, name in enumerate(branch):
                part = f"branch{number}" + (f".{position}" if len(branch) > 1 else "")
                layers[f"{module}.{part}"] = f"{scope}/Branch_{number}/Conv2d_{name}"
    return layers | {"last": f"{_SCOPE}/Bottleneck"}


def _blocks() -> Mapping[str, str]:
    blocks = {f"repeat_1.{i}": f"{_SCOPE}/Repeat/block35_{i + 1}" for i in range(5)}
    blocks |= {f"repeat_2.{i}": f"{_SCOPE}/Repeat_1/block17_{i + 1}" for i in range(10)}
    blocks |= {f"repeat_3.{i}": f"{_SCOPE}/Repeat_2/block8_{i + 1}" for i in range(5)}
    last = {"mixed_6a": "Mixed_6a", "mixed_7a": "Mixed_7a", "block8": "Block8"}
    return blocks | {module: f"{_SCOPE}/{scope}" for module, scope in last.items()}


def _branches(module: str) -> tuple[tuple[str, ...], ...]:
    return {
        "repeat_1": _BLOCK35,
        "repeat_2": _BLOCK17,
        "repeat_3": _BLOCK8,
        "block8": _BLOCK8,
        "mixed_6a": _MIXED_6A,
        "mixed_7a": _MIXED_7A,
    }[module.partition(".")[0]]


def _kernel(weight: np.ndarray) -> np.ndarray:
    """[out, in] or [out, in, height, width] -> [in, out] or [height, width, in, out]."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def _scaled_kernel(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return _kernel(weight) * scale


def _shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape as that of its variable; only kernels have other orders of axes."""
    if not name.endswith("/weights") or len(shape) < 2:
        return shape
    return (*shape[2:], shape[1], shape[0])
