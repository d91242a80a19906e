"""What the engine must be told before its first operation: memory and determinism."""

from __future__ import annotations

import logging
import os
import subprocess

import keras

logger = logging.getLogger(__name__)


def prepare(gpu_memory_fraction: float) -> None:
    """Bound the GPU memory that the engine takes, and make its operations repeatable.

    With a fraction of 1, TensorFlow takes GPU memory as it needs it; with less, at most that share
    of each GPU. Without a GPU only determinism is set.
    """
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow(gpu_memory_fraction)
    elif gpu_memory_fraction < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(gpu_memory_fraction))


def _prepare_tensorflow(gpu_memory_fraction: float) -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    try:
        if gpus and gpu_memory_fraction < 1:
            # A limit and growth exclude one another.
            for gpu, megabytes in zip(gpus, _gpu_megabytes(), strict=True):
                limit = tf.config.LogicalDeviceConfiguration(
                    memory_limit=int(megabytes * gpu_memory_fraction)
                )
                tf.config.set_logical_device_configuration(gpu, [limit])
        else:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        logger.warning("gpu_memory_fraction has no effect: %s", error)


def _gpu_megabytes() -> list[int]:
    """Memory of the visible GPUs, MiB; TensorFlow itself does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        command.append(f"--id={visible}")
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return [int(line) for line in output.split()]
