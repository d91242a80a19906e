"""The fault runs judged: the proxy does what it is told, the comparison sees what is wrong.

`make faults` is the long version; the slow test here is one round of it.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import urlsplit

import httpx
import pyarrow.parquet as pq
import pytest

from facenet_core.runtime import free_port
from qa.faults import campaign, compare, kinds
from qa.faults.pictures import PictureServer
from qa.faults.proxy import KINDS, FaultyProxy, Weather
from tests.support.tiny import command

BODY = b"0123456789" * 100


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    """In front of a server that answers every request with `BODY`."""
    _Answering.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        faulty = FaultyProxy(("127.0.0.1", server.server_address[1]))
        yield faulty
        faulty.stop()
        server.shutdown()


def ask(proxy: FaultyProxy, method: str = "GET", path: str = "/bucket/file") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=10)
    try:
        connection.request(method, path, body=b"x" * 10 if method == "PUT" else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("kind", "status", "reaches_the_server"),
    [("500", 500, False), ("503", 503, False), ("slow down", 503, False), ("delay", 200, True)],
)
def test_the_proxy_answers_in_place_of_the_server(
    proxy: FaultyProxy, kind: str, status: int, reaches_the_server: bool
) -> None:
    proxy.set_weather("bucket", Weather(rates={kind: 1.0}))
    assert ask(proxy)[0] == status
    assert bool(_Answering.asked) is reaches_the_server
    assert proxy.weather("bucket").injected == {kind: 1}


@pytest.mark.parametrize(
    ("kind", "raises", "reaches_the_server"),
    [
        ("cut body", http.client.IncompleteRead, True),
        ("reset", ConnectionError, False),
        ("lost answer", ConnectionError, True),
    ],
)
def test_the_proxy_breaks_connections(
    proxy: FaultyProxy, kind: str, raises: type[Exception], reaches_the_server: bool
) -> None:
    proxy.set_weather("bucket", Weather(rates={kind: 1.0}))
    with pytest.raises(raises):
        ask(proxy)
    assert bool(_Answering.asked) is reaches_the_server
    assert ask(proxy, path="/another/file") == (200, BODY)


def test_the_proxy_denies_what_would_change_the_bucket(proxy: FaultyProxy) -> None:
    proxy.set_weather("bucket", weather := Weather(denied=True))
    assert [ask(proxy, method)[0] for method in ("GET", "PUT")] == [200, 403]
    weather.denied = False
    assert ask(proxy, "PUT") == (200, BODY)


def test_the_weather_is_a_function_of_seed_and_request_not_of_their_order() -> None:
    requests = [("GET", f"/bucket/{n % 7}") for n in range(60)]
    rates = dict.fromkeys(KINDS, 0.05)

    def by_path(seed: int, requests: list[tuple[str, str]]) -> dict[str, list[str | None]]:
        weather = Weather(seed, rates)
        results: dict[str, list[str | None]] = {}
        for method, path in requests:
            results.setdefault(path, []).append(weather.of(method, path))
        return results

    assert by_path(1, requests) == by_path(1, requests[::-1])
    assert by_path(1, requests) != by_path(2, requests)


def test_the_web_server_is_busy_from_the_first_request_on_and_then_well(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(BODY)
    pictures = PictureServer(tmp_path, free_port())
    try:
        assert httpx.get(f"{pictures.url}/a.jpg").content == BODY
        pictures.be_busy(60)
        assert [httpx.get(f"{pictures.url}/a.jpg").status_code for _ in range(2)] == [503, 503]
        pictures.be_busy(1e-9)
        httpx.head(f"{pictures.url}/a.jpg")
        assert httpx.get(f"{pictures.url}/a.jpg").content == BODY
    finally:
        pictures.stop()


def test_every_kind_has_its_turn_and_the_slow_ones_fewer() -> None:
    drawn = [campaign.kind_of(number).name for number in range(200)]
    assert {kind.name for kind in kinds.KINDS_OF_FAULTS} == set(drawn)
    for kind in kinds.KINDS_OF_FAULTS:
        assert drawn.count(kind.name) >= 200 // len(kinds.KINDS_OF_FAULTS) // kind.every


def _copy_a_part(root: Path) -> None:
    part = next(root.glob("crops/tiny/*/crops/part-*"))
    shutil.copyfile(part, part.with_name("part-00099.parquet"))


def _drop_a_row(root: Path) -> None:
    part = next(root.glob("raw/tiny/*/images/part-*"))
    table = pq.read_table(part)
    pq.write_table(table.slice(1), part)


def _flip_a_bit(root: Path) -> None:
    (model,) = root.glob("models/tiny/*/model.keras")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def _change_metrics(root: Path) -> None:
    (metrics,) = root.glob("reports/*/*/metrics.json")
    metrics.write_text(metrics.read_text().replace("1", "2"))


def _leave_a_temporary_file(root: Path) -> None:
    (root / "raw" / ".part.host.1.x.tmp").touch()


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (_copy_a_part, {"doubled"}),
        (_drop_a_row, {"lost", "wrong"}),
        (_flip_a_bit, {"wrong"}),
        (_change_metrics, {"wrong"}),
        (lambda root: next(root.glob("crops/tiny/*/manifest.json")).unlink(), {"wrong"}),
        (_leave_a_temporary_file, {"left"}),
        (lambda root: None, set()),
    ],
)
def test_the_comparison_sees(
    undisturbed: Path, tmp_path: Path, harm: Callable[[Path], object], seen: set[str]
) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed, root)
    harm(root)
    verdict = compare.compare(root, undisturbed)
    assert {name for name, results in vars(verdict).items() if results} == seen


@pytest.mark.slow
def test_two_runs_at_once_on_one_root_both_end_right(
    undisturbed: Path, tiny_config: Path, tmp_path: Path
) -> None:
    words = command("run", "--config", tiny_config, "--storage", tmp_path)
    runs = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(run.communicate()[1], run.returncode) for run in runs]
    assert [status for _, status in ended] == [0, 0], ended
    assert compare.compare(tmp_path, undisturbed) == compare.Verdict()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_round_of_every_kind_ends_right(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status = campaign.main(["--runs", "25", "--home", str(tmp_path / "home")])
    assert status == 0, capsys.readouterr()
