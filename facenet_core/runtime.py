"""Starting the engine under Keras: without the lines that TensorFlow prints before any log level,
and without packages that Keras imports for features that are not used here."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Written as TensorFlow is imported and at its first operation; a user can act on none of them.
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
    """For the block that imports and starts an engine: its noise is dropped, the rest is not.

    What is written to the standard error's descriptor is held back until the block ends.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held:
                if not any(noise in line for noise in _NOISE):
                    os.write(2, line)


# For `fit` on data frames, estimators around models, pictures of bounding boxes.
_OPTIONAL = ("pandas", "sklearn", "matplotlib")


@contextmanager
def keras_alone() -> Iterator[None]:
    """For the block that imports Keras first: it does not find what it can do without.

    That is 145 MB and a second of the import; a process that trains keeps them for its batches.
    """
    missing: dict[str, Any] = {name: None for name in _OPTIONAL if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
