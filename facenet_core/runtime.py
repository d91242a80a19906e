"""Everything that acts on a whole process: quiet starts of TensorFlow and OpenVINO, imports hidden
from Keras, memory that malloc keeps, child processes, their ports, and processes that hang."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)

# Below those that Linux and macOS give to connections and to servers that name none.
_PORTS = range(20_000, 32_000)
HUNG = 1  # exit status of a process that its watchdog ended

# What TensorFlow writes at its import and first operation, before any log level applies. Users can
# act on none of it.
_NOISE = (
    b"All log messages before absl::InitializeLog",
    b"oneDNN custom operations are on",
    b"binary is optimized to use available CPU instructions",
    b"rebuild TensorFlow with the appropriate compiler flags",
    b"Could not find cuda drivers on your machine",
    b"Unable to register cu",
    b"INFO: Created TensorFlow Lite XNNPACK delegate",
)


@contextmanager
def quietly() -> Iterator[None]:
    """Drop the start-up noise of TensorFlow or OpenVINO within the block, and nothing else.

    Other lines that are written to the descriptor of standard error appear when the block ends.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            buffer.seek(0)
            for line in buffer:
                if not any(noise in line for noise in _NOISE):
                    os.write(2, line)


# Keras imports them for `fit` on data frames, wrappers for scikit-learn, and plots of boxes.
_OPTIONAL = ("pandas", "sklearn", "matplotlib")


@contextmanager
def keras_alone() -> Iterator[None]:
    """Hide optional packages from the first import of Keras, which happens within the block.

    This saves 145 MB of memory and a second, in every process that trains.
    """
    missing: dict[str, Any] = {name: None for name in _OPTIONAL if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def keep_freed_memory() -> None:
    """Have glibc's malloc keep up to 64 MB of freed memory for the next image.

    By default malloc returns large arrays to the system at once, which hands them out again page by
    page, zeroed at the first access. glibc raises its thresholds over time, up to the limits set
    here, but not where MALLOC_TRIM_THRESHOLD_ is set, as Dask does for its workers: there the
    detector took 8.1 ms for an image without this setting, 2.5 of them in page faults, and a
    synthetic face is drawn in 12 ms instead of 19. Elsewhere it saves 3 %.
    """
    with suppress(AttributeError):  # other C libraries have no such function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD
        mallopt(-1, 64 * 2**20)  # M_TRIM_THRESHOLD


@contextmanager
def without_collecting() -> Iterator[None]:
    """Import without the garbage collector, which takes a sixth of the time and frees nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # modules live as long as the process


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a child process, where a C or C++ library may crash.

    -P keeps Python from importing modules from the working folder, which may hold data.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """This process's environment, with a PYTHONPATH from which the same modules are imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def describe_exit(status: int) -> str:
    """How a child process ended: a signal such as SIGSEGV, or its exit status."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def free_port() -> int:
    """A port of this machine that nobody uses, for a child process that starts to listen later.

    The system would not give it to anybody in the meantime, as it would one of its own choice.

    Raises:
        OSError: every port is in use.
    """
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port
    raise OSError(f"every port from {_PORTS[0]} to {_PORTS[-1]} is in use")


class Watchdog:
    """Ends the process if nothing happens for `seconds` inside a `with` block.

    For processes that do nothing else and are restarted when they die: a Dask worker, a child. The
    clock is a C thread of the interpreter, so a library that hangs while it holds Python's
    lock is noticed as well. There is one clock a process.

    Args:
        seconds: None disables the watchdog.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def __enter__(self) -> Self:
        # The stacks of all threads, which it prints, would be the only thing in a terminal.
        self._stacks = open(os.devnull, "w")
        self.progress()
        return self

    def progress(self) -> None:
        """Reset the clock: something was done."""
        if self._seconds is not None:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stacks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._seconds is not None:
            faulthandler.cancel_dump_traceback_later()
        self._stacks.close()


def limit_gpu_memory(fraction: float) -> None:
    """Bound the GPU memory that TensorFlow takes in this process, before its first operation.

    Args:
        fraction: TensorFlow takes at most this share of each GPU; with 1, memory as it needs it.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    try:
        if gpus and fraction < 1:
            # A limit and growth exclude one another.
            for gpu, megabytes in zip(gpus, _gpu_megabytes(), strict=True):
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(megabytes * fraction))
                tf.config.set_logical_device_configuration(gpu, [limit])
        else:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        logger.warning("gpu_memory_fraction has no effect: %s", error)


def _gpu_megabytes() -> list[int]:
    """Memory of the visible GPUs, MiB; TensorFlow itself does not tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    options = [f"--id={visible}"] if visible else []
    return [int(size) for size in query_gpus("memory.total", *options)]


def query_gpus(field: str, *options: str) -> list[str]:
    """A field of `nvidia-smi --help-query-gpu`, for each GPU.

    Raises:
        OSError, subprocess.SubprocessError: there are no GPUs of NVIDIA.
    """
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return output.split()
