"""The bucket that benchmarks store into: that of `make s3`, on this machine's cores and disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "deployments"))
import local_s3

from facenet_core.runtime import free_port


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """Its URI, while the server runs; what is stored lies in `folder`.

    The environment says from now on where the server is.
    """
    port = free_port()
    os.environ.update(local_s3.environment(f"http://127.0.0.1:{port}"))
    server = local_s3.start(folder / "buckets", port, folder / "server.log")
    try:
        yield f"s3://{local_s3.BUCKET}"
    finally:
        server.terminate()
        server.wait()
