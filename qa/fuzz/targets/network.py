"""Answers of servers, over a real connection."""

from __future__ import annotations

import socket
import threading
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from facenet_core.fetch.download import Patience, fetch
from facenet_core.fetch.wanted import Wanted

from ..target import Target

_BODY = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello'
_PARTIAL = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\n\r\nlo"
)
_MOVED = b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
_WAIT = b"HTTP/1.1 503 Busy\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n"
_NAMED = b'HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename="../../x"\r\n\r\nhello'


class _Server:
    """Answers every request with the same bytes, and closes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    connection.settimeout(2)
                    connection.recv(65536)
                    connection.sendall(self.answer)
                except OSError:
                    continue


@cache
def _server() -> _Server:
    return _Server()


def read_answer(data: bytes, folder: Path) -> None:
    """A fetch that had three bytes before; what appears is whole, and where it was asked for."""
    server = _server()
    server.answer = data
    wanted = Wanted(str(folder / "faces.tgz"), (f"http://127.0.0.1:{server.port}/faces.tgz",))
    if b"206" in data[:16]:
        (folder / ".faces.tgz.part").write_bytes(b"hel")
        note = '{"etag": "\\"a\\"", "last_modified": null, "total": 5}'
        (folder / ".faces.tgz.part.json").write_text(note)
    fetch(wanted, patience=Patience(tries=2, timeout=2, pause=0), sleep=lambda seconds: None)
    assert {path.name for path in folder.iterdir()} == {"faces.tgz", "faces.tgz.json"}


def answers() -> st.SearchStrategy[bytes]:
    first = st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 206 x", b"HTTP/1.0 302 F", b"HTTP/1.1 999", b"ICY"]
    )
    names = [
        b"Content-Length",
        b"Location",
        b"Content-Range",
        b"ETag",
        b"Retry-After",
        b"Content-Encoding",
    ]
    names += [b"Transfer-Encoding", b"Last-Modified", b"Content-Type", b"Set-Cookie"]
    values = [
        b"5",
        b"-1",
        b"bytes 3-4/5",
        b"bytes 0-4/3",
        b"gzip",
        b"chunked",
        b"file:///etc/passwd",
        b"//",
    ]
    values += [
        b"http://127.0.0.1:1/",
        b"/again",
        b"text/html",
        b"",
        b"\xff\xfe",
        b"Mon, 99 Foo 2024",
        b'W/"a"',
    ]
    values += [b"http://[", b"ftp://127.0.0.1/x", b"9" * 40, "²".encode()]
    header = st.tuples(st.sampled_from(names), st.sampled_from(values)).map(b": ".join)
    body = st.sampled_from(
        [b"hello", b"", b"lo", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx", b"x" * 9000]
    )
    return st.tuples(first, st.lists(header, max_size=4), body).map(
        lambda parts: b"\r\n".join([parts[0], *parts[1], b"", parts[2]])
    )


TARGETS = (
    Target(
        "answer of a server",
        read_answer,
        lambda: [_BODY, _PARTIAL, _MOVED, _CHUNKED, _WAIT, _NAMED],
        weight=0.7,
        text=True,
        drawn=answers,
        seconds=20,
        network=True,
    ),
)
