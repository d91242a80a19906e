"""A proxy in front of an S3 server that disturbs a seeded share of the requests.

Whether a request is disturbed, and how, is a function of the seed, its method, its path and of how
many like it came before; not of time or of the order in which threads come. The server behind is
never asked half a question: a request is passed on whole or not at all.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What can be done to one request. `lost answer`: the server did it, the client never hears.
KINDS = ("500", "503", "slow down", "delay", "cut body", "reset", "lost answer")
_CODES = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Service Unavailable", "ServiceUnavailable"),
    "slow down": ("503 Slow Down", "SlowDown"),
    "denied": ("403 Forbidden", "AccessDenied"),
}
_WRITES = ("PUT", "POST", "DELETE")
_BODILESS = (b"204", b"304")


@dataclass
class Weather:
    """What happens to the requests of one bucket.

    Attributes:
        rates: probability of each of `KINDS`.
        denied: while true, whatever would change the bucket is answered 403.
        requests: how many came.
        injected: how many of them were disturbed, by kind.
    """

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    denied: bool = False
    requests: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def of(self, method: str, path: str) -> str | None:
        """What to do to this request; None lets it pass."""
        self.requests += 1
        if self.denied and method in _WRITES:
            return "denied"
        self._seen[method, path] += 1
        draw = random.Random(f"{self.seed} {method} {path} {self._seen[method, path]}").random()
        for kind, rate in self.rates.items():
            draw -= rate
            if draw < 0:
                return kind
        return None


@dataclass(frozen=True)
class _Message:
    """A request or an answer: first line, headers, body as it came over the wire."""

    start: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def head(self) -> bytes:
        lines = [self.start, *(name + b": " + value for name, value in self.headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class FaultyProxy:
    """Listens on a port of its own, in a thread of its own, until `stop`."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._weather: dict[str, Weather] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self.endpoint = f"http://127.0.0.1:{started.result(30)}"

    def weather(self, bucket: str) -> Weather:
        """That of a bucket; fair until it is changed."""
        return self._weather.setdefault(bucket, Weather())

    def set_weather(self, bucket: str, weather: Weather) -> None:
        self._weather[bucket] = weather

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while (request := await _read(reader, writer)) is not None:
                method, path = request.start.decode("latin-1").split(" ")[:2]
                weather = self.weather(path.lstrip("/").split("/")[0].split("?")[0])
                kind = weather.of(method, path)
                if kind == "delay":
                    await asyncio.sleep(0.05 + weather.requests % 20 / 20)
                if kind == "reset":
                    weather.injected[kind] += 1
                    return _reset(writer)
                if kind in _CODES:
                    weather.injected[kind] += 1
                    writer.write(_error(kind, method))
                    await writer.drain()
                    continue
                if upstream is None:
                    upstream = await asyncio.open_connection(*self._upstream, limit=2**20)
                upstream[1].write(request.head + request.body)
                answer = await _read(upstream[0], upstream[1], asked=method)
                if answer is None:  # the server closed an idle connection: so do we
                    return None
                body = answer.body
                if kind == "cut body" and (method != "GET" or len(body) < 2):
                    kind = None
                if kind is not None:
                    weather.injected[kind] += 1
                if kind == "lost answer":
                    return _reset(writer)
                if kind == "cut body":
                    writer.write(answer.head + body[: len(body) // 2])
                    await writer.drain()
                    return None
                writer.write(answer.head + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return None
        finally:
            writer.close()
            if upstream is not None:
                upstream[1].close()


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: str | None = None
) -> _Message | None:
    """The next whole request, or the answer to a request of method `asked`; None at the end."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if asked is not None and lines[0].split(b" ")[1] == b"100":
        return await _read(reader, writer, asked)
    headers = [tuple(line.split(b": ", 1)) for line in lines[1:] if b": " in line]
    lower: dict[bytes, bytes] = {name.lower(): value for name, value in headers}
    if lower.get(b"expect", b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        headers = [(name, value) for name, value in headers if name.lower() != b"expect"]
    body = b""
    if asked != "HEAD" and lines[0].split(b" ")[1] not in _BODILESS:
        if lower.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(lower.get(b"content-length", b"0")))
    return _Message(lines[0], tuple(headers), body)  # type: ignore[arg-type]


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    result = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        data = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        result += line + data
        if data == b"\r\n":
            return result


def _error(kind: str, method: str) -> bytes:
    status, code = _CODES[kind]
    body = b"" if method == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees `connection reset by peer`."""
    sock: Any = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
