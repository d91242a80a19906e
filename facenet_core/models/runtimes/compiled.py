"""Networks compiled by OpenVINO, and kept in the user's cache folder.

An entry is named by all that it follows from: the model file's content, OpenVINO, the processor and
the settings. No work fails for want of an entry, and the folder stays within its limits.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import openvino as ov

from facenet_core import storage
from facenet_core.cache import cache_folder, configured_folder
from facenet_core.errors import FacenetError
from facenet_core.models.face_model import FaceModel

logger = logging.getLogger(__name__)

FORMAT = 1  # grows when the same model becomes another network, also within a version
MOST_BYTES = 2 * 2**30  # of all entries
_MOST_OF_DISK = 0.1  # of what is free
_SUFFIX = ".openvino"
_DIGEST = hashlib.sha256().digest_size  # bytes before the network, of which they are the SHA-256


def compile_cached(
    model: FaceModel, build: Callable[[], ov.Model], settings: Mapping[str, object]
) -> ov.CompiledModel:
    """The network that `build` makes of a model's file, compiled for the CPU, from the cache.

    A model without a file is compiled and not kept.
    """
    core = ov.Core()
    entry = _entry(core, model, settings)
    if entry is not None and (compiled := _load(core, entry, settings)) is not None:
        return compiled
    compiled = core.compile_model(build(), "CPU", dict(settings))
    if entry is not None:
        _keep(compiled, model, entry)
    return compiled


def _entry(core: ov.Core, model: FaceModel, settings: Mapping[str, object]) -> Path | None:
    """The file of the compiled network; None where none can be kept."""
    if model.digest is None:
        return None
    folder = cache_folder()
    if folder != configured_folder():  # which ends with this process
        return None
    follows_from = {
        "format": FORMAT,
        "model": [model.digest, model.image_size, str(model.standardization)],
        "versions": [version("facenet-pipeline"), ov.__version__],
        "processor": [
            core.get_property("CPU", name)
            for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        ],
        "settings": dict(settings),
    }
    return folder / "compiled" / f"{storage.fingerprint(follows_from)}{_SUFFIX}"


def _load(core: ov.Core, entry: Path, settings: Mapping[str, object]) -> ov.CompiledModel | None:
    try:
        data = entry.read_bytes()
        # OpenVINO is not asked what it makes of a damaged network.
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise ValueError("damaged")
        compiled = core.import_model(io.BytesIO(data[_DIGEST:]), "CPU", dict(settings))
        os.utime(entry)  # the entries used last are kept
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:
        logger.debug("%s: cannot be used: %s", entry, error)
        return None
    return compiled


def _keep(compiled: ov.CompiledModel, model: FaceModel, entry: Path) -> None:
    try:
        # A manifest may claim the digest of another model.
        if storage.sha256(str(model.file)) != model.digest:
            return
        network = compiled.export_model().getvalue()
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = _MOST_OF_DISK * shutil.disk_usage(entry.parent).free
        if len(network) > min(room, MOST_BYTES):
            return
        _make_room(entry.parent, len(network))
        with storage.new_file(str(entry), 0o600) as path, path.open("wb") as file:
            file.write(hashlib.sha256(network).digest())
            file.write(network)
    except (OSError, RuntimeError, FacenetError) as error:
        logger.debug("%s: not kept: %s", entry, error)


def _make_room(folder: Path, size: int) -> None:
    """Remove what was not used for longest, until `size` bytes more are within the limit."""
    storage.sweep(str(folder))
    states = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another process was faster
            states.append((path.stat().st_mtime, path.stat().st_size, path))
    for _, bytes_, path in sorted(states, reverse=True):
        size += bytes_
        if size > MOST_BYTES:
            path.unlink(missing_ok=True)
