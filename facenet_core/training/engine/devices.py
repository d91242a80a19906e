"""What the engine must be told before its first operation, and what its errors mean."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras

from facenet_core.errors import ConfigError, TrainingError
from facenet_core.runtime import limit_gpu_memory

logger = logging.getLogger(__name__)

_REPEATABLE = "xla_gpu_deterministic_ops"


def prepare(gpu_memory_fraction: float) -> None:
    """Bound the GPU memory that the engine takes, and make its operations repeatable.

    With a fraction of 1, TensorFlow takes GPU memory as it needs it; with less, at most that share
    of each GPU. Without a GPU only determinism is set.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        limit_gpu_memory(gpu_memory_fraction)
        return
    # JAX reads both at its first operation; what a user has set stays.
    if gpu_memory_fraction < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(gpu_memory_fraction))
    if _REPEATABLE not in (flags := os.environ.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = f"{flags} --{_REPEATABLE}=true".strip()


def require_precision(mixed_precision: str) -> None:
    """See that half precision is of use on this machine.

    Raises:
        ConfigError: float16 without a GPU, which takes many times as long as float32.
    """
    if mixed_precision == "off" or has_gpu():
        return
    if mixed_precision == "float16":
        raise ConfigError(
            "mixed_precision: float16 needs a GPU, and there is none; use bfloat16 or off"
        )
    if not _cpu_has_bfloat16():
        logger.warning(
            "mixed_precision: this CPU does not compute in bfloat16 (no avx512_bf16 or amx_bf16), "
            "training will be slower than with off"
        )


def settle() -> None:
    """Give back what building the training's program has left in memory, after the first step.

    Python's collector frees it late, and glibc keeps what is freed.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # not on every system
        ctypes.CDLL(None).malloc_trim(0)


def has_gpu() -> bool:
    """Whether the engine sees a GPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


# What engines say, and what it means to somebody who trains.
_MEANINGS = (
    (
        ("get convolution algorithm", "CUDNN_STATUS", "DNN library is not found"),
        "cuDNN could not start, mostly because GPU memory is taken: by another process (see "
        "nvidia-smi), or by this one's share. Lower gpu_memory_fraction, end the other process, or "
        "check that CUDA and cuDNN fit the engine's version",
    ),
    (
        ("OOM when allocating", "RESOURCE_EXHAUSTED", "Out of memory"),
        "the device's memory is too small: lower batch_size or image_size, raise "
        "gpu_memory_fraction, or set mixed_precision",
    ),
)


@contextmanager
def explained() -> Iterator[None]:
    """Around an operation: errors of the engine whose cause is known, in words.

    Raises:
        TrainingError: instead of those.
    """
    try:
        yield
    except Exception as error:  # engines have error classes of their own
        text = str(error)
        for signs, meaning in _MEANINGS:
            if any(sign in text for sign in signs):
                raise TrainingError(f"{meaning} ({text.splitlines()[0]:.200})") from error
        raise
