"""Nothing is read without bound: pipes, devices, answers without an end, and files that claim."""

from __future__ import annotations

import itertools
import os
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.datasets.members import Limits, Member
from facenet_core.datasets.sources.listing import Listed
from facenet_core.errors import NotAFile, SourceError, StorageError, TooLarge
from facenet_core.fetch import http
from facenet_core.fetch.download import DownloadError, fetch
from facenet_core.fetch.wanted import Wanted
from facenet_core.recognition.photographs import read_rows

LIMITS = Limits(image_bytes=2**20, total_bytes=2**30, ratio=200.0)
JPEG = b"\xff\xd8\xff"


@contextmanager
def endless(claimed: int | None) -> Iterator[tuple[str, list[int]]]:
    """A server whose answers never end, whatever length it claims; and the bytes it got rid of."""
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            if claimed is not None:
                self.send_header("Content-Length", str(claimed))
                self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for number in itertools.count():
                    self.wfile.write(bytes(2**18))
                    sent.append(number)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/Ann/a.jpg", sent
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe.jpg")
    return str(tmp_path / "pipe.jpg")


def _device(tmp_path: Path) -> str:
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    return str(tmp_path / "zero.jpg")


def test_a_pipe_or_a_device_is_no_photograph(tmp_path: Path, pipe: str) -> None:
    for source in (pipe, _device(tmp_path)):
        with pytest.raises(NotAFile, match=r"\.jpg: a pipe, device or socket; expected a file"):
            list(read_rows([source], str(tmp_path)))
        with pytest.raises(NotAFile):
            storage.sha256(source)
        with pytest.raises(NotAFile), storage.open_input(source):
            pass
    with pytest.raises(StorageError, match="Is a directory"):
        storage.read_bytes(str(tmp_path))


def test_lines_of_a_list_that_name_pipes_and_devices_are_skipped(tmp_path: Path, pipe: str) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    lines = ["file:///dev/zero,Eve", f"file://{pipe},Eve", "a.jpg,Ann"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    items = list(Listed(str(tmp_path / "list.csv")).items(LIMITS))
    assert [getattr(item, "reason", "") for item in items] == ["not_a_file", "not_a_file", ""]
    assert items[2] == Member("a.jpg", JPEG, "Ann")


def test_a_line_of_a_list_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"a" * 2**25)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="not a list of path,identity"):
            list(Listed(str(tmp_path / "list.csv")).items(LIMITS))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claimed", [None, 1000])
def test_an_answer_without_an_end_is_read_as_far_as_the_limit(claimed: int | None) -> None:
    with endless(claimed) as (url, sent):
        if claimed is None:
            with pytest.raises(TooLarge, match=f"{url}: more than the 100,000 bytes"):
                storage.read_bytes(url, 100_000)
            with (
                pytest.raises(StorageError, match="does not say how many bytes it has"),
                storage.open_input(url),
            ):
                pass
        else:
            assert storage.read_bytes(url, 100_000) == bytes(1000)
        assert len(sent) < 100


def test_a_line_of_a_list_with_an_endless_answer_ends(tmp_path: Path) -> None:
    with endless(1000) as (url, sent):
        (tmp_path / "list.csv").write_text(f"{url},Ann\n")
        (item,) = Listed(str(tmp_path / "list.csv")).items(LIMITS)
    assert isinstance(item, Member)
    assert len(item.data) == 1000
    assert len(sent) < 100


def test_a_download_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_LARGEST_OF_UNKNOWN", 10_000_000)
    target = tmp_path / "faces.tgz"
    with endless(None) as (url, _), pytest.raises(DownloadError, match="more than 10,000,000 byt"):
        fetch(Wanted(str(target), (url,)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 70_000, 2**20])
def test_files_up_to_the_limit_come_whole(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    uri = str(tmp_path / "a")
    assert storage.read_bytes(uri, size) == storage.read_local(uri, size) == data
    storage.fetch_file(uri, tmp_path / "copy", size)
    assert (tmp_path / "copy").read_bytes() == data
    if size:
        for read in (storage.read_bytes, storage.read_local):
            with pytest.raises(TooLarge, match=f"{uri}: .* more than"):
                read(uri, size - 1)


def test_a_file_that_claims_no_size_is_read_as_far_as_the_limit() -> None:
    with pytest.raises(TooLarge):
        storage.read_bytes("/proc/self/status", 10)  # its size is said to be 0
    assert storage.read_bytes("/proc/self/status").startswith(b"Name:")
