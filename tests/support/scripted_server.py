"""A real HTTP server that misbehaves as told, request by request."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a request gets, and how."""

    data: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    status: int = 0  # something else than 200, 206, 304, 416
    ranges: bool = True
    conditions: bool = True  # knows If-None-Match
    heeds_if_range: bool = True
    cut_after: int | None = None  # bytes of the body, then the connection is closed
    length: int | None = None  # a Content-Length that is a lie
    hang: float = 0.0  # seconds of silence before the body
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    path: str
    headers: dict[str, str]


@dataclass
class Script:
    """Answers in order, the last one for all further requests; and what was asked."""

    url: str
    answers: list[Served]
    requests: list[Request] = field(default_factory=list)

    def next(self) -> Served:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: Served) -> Iterator[Script]:
    """A server on a port of its own; `url` ends with a slash."""
    script = Script("", list(answers))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                script.requests.append(Request(self.path, dict(self.headers)))
                served = script.next()
            _answer(self, served)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, served: Served) -> None:
    start, status = _range(handler.headers.get, served)
    asked = handler.headers.get("If-None-Match")
    if served.conditions and asked is not None and asked == served.etag:
        status = 304
    status = served.status or status
    body = served.data[start:] if status in (200, 206) else b""
    handler.send_response(status)
    if served.etag:
        handler.send_header("ETag", served.etag)
    if served.last_modified:
        handler.send_header("Last-Modified", served.last_modified)
    if status == 206:
        last, total = len(served.data) - 1, len(served.data)
        handler.send_header("Content-Range", f"bytes {start}-{last}/{total}")
    for name, value in served.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(served.length or len(body)))
    handler.end_headers()
    handler.wfile.flush()
    time.sleep(served.hang)
    handler.wfile.write(body if served.cut_after is None else body[: served.cut_after])


def _range(header: Callable[[str], str | None], served: Served) -> tuple[int, int]:
    result = re.fullmatch(r"bytes=(\d+)-", header("Range") or "")
    if result is None or not served.ranges:
        return 0, 200
    condition = header("If-Range")
    if served.heeds_if_range and condition not in (None, served.etag, served.last_modified):
        return 0, 200
    start = int(result[1])
    return (start, 206) if start < len(served.data) else (0, 416)
