"""An S3 server with one object for good, which misbehaves as told, request by request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A store refuses the removal of objects one by one, in an answer that says success.
KEPT = (
    b"<DeleteResult><Error><Key>file</Key><Code>AccessDenied</Code>"
    b"<Message>Access Denied</Message></Error></DeleteResult>"
)


@dataclass
class Store:
    """What the object holds, what the next reads of it get, and how many came.

    A fault is an HTTP status, `cut` (the connection ends in the middle of the body), `short` (less
    than was asked for, and a length that says so) or `stall` (silence in the middle of the body).
    """

    endpoint: str
    data: bytes
    faults: list[int | str] = field(default_factory=list)
    reads: int = 0


@contextmanager
def store(data: bytes, stall: float = 2.0) -> Iterator[Store]:
    """A store on a port of its own, whose every key holds `data`."""
    state = Store("", data)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._start(200, len(state.data))

        def do_GET(self) -> None:
            with lock:
                state.reads += 1
                fault = state.faults.pop(0) if state.faults else None
            if isinstance(fault, int):
                self._start(fault, 0)
                return
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            body = state.data[first : last + 1]
            if fault == "short":
                body = body[: len(body) // 2]
            self._start(206, len(body))
            if fault in ("cut", "stall"):
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                time.sleep(stall if fault == "stall" else 0)
                self.close_connection = True
                return
            self.wfile.write(body)

        def do_POST(self) -> None:  # the removal of objects
            self.rfile.read(int(self.headers["Content-Length"]))
            self._start(200, len(KEPT))
            self.wfile.write(KEPT)

        def _start(self, status: int, length: int) -> None:
            self.send_response(status)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
