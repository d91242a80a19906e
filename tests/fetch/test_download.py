"""Downloads over a real HTTP server that misbehaves: the right bytes, or a clear failure."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.fetch.download import DownloadError, Patience, fetch
from facenet_core.fetch.wanted import Wanted
from facenet_core.privacy import url_secrets
from tests.support.scripted_server import Served, serving

DATA = random.Random(0).randbytes(1_500_000)
OTHER = random.Random(1).randbytes(1_500_000)
GOOD = Served(DATA)
HALF = replace(GOOD, cut_after=700_000)
HURRIED = Patience(tries=3, timeout=0.3)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "downloads" / "faces.tgz")


def wanted(target: str, *urls: str, **known: object) -> Wanted:
    return Wanted(target, urls, **known)  # type: ignore[arg-type]


def get(file: Wanted):
    return fetch(file, patience=HURRIED, sleep=lambda seconds: None)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left_behind(target: str) -> list[str]:
    folder = Path(target).parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_fetched_once_and_noted(target: str) -> None:
    with serving(GOOD) as server:
        note = get(wanted(target, server.url, sha256=sha256(DATA), bytes=len(DATA)))
        again = get(wanted(target, server.url, sha256=sha256(DATA)))
    assert Path(target).read_bytes() == DATA
    assert note == again
    assert (note.bytes, note.sha256, note.url) == (len(DATA), sha256(DATA), server.url)
    assert len(server.requests) == 1
    assert left_behind(target) == ["faces.tgz", "faces.tgz.json"]


def test_a_connection_cut_in_the_middle_goes_on_where_it_stopped(target: str) -> None:
    with serving(HALF, replace(GOOD, cut_after=500_000), GOOD) as server:
        get(wanted(target, server.url))
    assert Path(target).read_bytes() == DATA
    ranges = [request.headers.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=700000-", "bytes=1200000-"]
    assert server.requests[1].headers["If-Range"] == '"one"'


def test_a_later_run_goes_on_with_what_an_earlier_one_left(target: str) -> None:
    with serving(HALF, replace(GOOD, status=503)) as server, pytest.raises(DownloadError):
        get(wanted(target, server.url))
    assert left_behind(target) == [".faces.tgz.part", ".faces.tgz.part.json"]
    with serving(GOOD) as server:
        get(wanted(target, server.url))
        assert server.requests[0].headers["Range"] == "bytes=700000-"
    assert Path(target).read_bytes() == DATA
    assert left_behind(target) == ["faces.tgz", "faces.tgz.json"]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(replace(GOOD, ranges=False), id="a server that ignores Range"),
        pytest.param(replace(GOOD, etag='W/"weak"', ranges=False), id="weak tags"),
    ],
)
def test_a_resume_that_is_not_granted_begins_anew(target: str, second: Served) -> None:
    with serving(replace(second, cut_after=700_000), second) as server:
        get(wanted(target, server.url))
    assert Path(target).read_bytes() == DATA


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_after_a_resume_is_not_mixed(target: str, heeds: bool) -> None:
    changed = Served(OTHER, etag='"two"', heeds_if_range=heeds)
    with serving(HALF, changed) as server:
        note = get(wanted(target, server.url))
    assert Path(target).read_bytes() == OTHER
    assert note.etag == '"two"'


def test_a_change_that_the_server_hides_is_found_by_the_digest(target: str) -> None:
    with serving(HALF, Served(OTHER), GOOD) as server:
        get(wanted(target, server.url, sha256=sha256(DATA)))
    assert Path(target).read_bytes() == DATA


def test_without_tag_and_date_nothing_is_resumed(target: str) -> None:
    bare = replace(GOOD, etag=None)
    with serving(replace(bare, cut_after=700_000), bare) as server:
        get(wanted(target, server.url))
    assert [request.headers.get("Range") for request in server.requests] == [None, None]
    assert Path(target).read_bytes() == DATA


def test_a_date_will_do_to_resume(target: str) -> None:
    dated = replace(GOOD, etag=None, last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
    with serving(replace(dated, cut_after=700_000), dated) as server:
        get(wanted(target, server.url))
    assert server.requests[1].headers["If-Range"] == dated.last_modified
    assert Path(target).read_bytes() == DATA


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (replace(GOOD, length=len(DATA) + 1000), r"bytes\), 3 times|changes while"),
        (replace(GOOD, status=404), "HTTP 404"),
        (replace(GOOD, status=503), "HTTP 503 Service Unavailable, 3 times"),
        (replace(GOOD, hang=1.0), "nothing came for 0.3 s, 3 times"),
        (replace(GOOD, headers={"Content-Type": "text/html; charset=utf-8"}), "web page"),
        (replace(GOOD, data=OTHER), "its SHA-256 is"),
        (replace(GOOD, data=DATA[:-1]), "its bytes is"),
    ],
    ids=["long length", "404", "503", "hang", "web page", "another file", "short file"],
)
def test_what_cannot_be_had_is_a_clear_failure(target: str, answer: Served, message: str) -> None:
    with serving(answer) as server, pytest.raises(DownloadError, match=message) as failure:
        get(wanted(target, server.url, sha256=sha256(DATA), bytes=len(DATA)))
    assert server.url in str(failure.value)
    assert not Path(target).exists()


def test_a_length_that_is_too_short_is_found_by_the_size(target: str) -> None:
    with (
        serving(replace(GOOD, length=1000)) as server,
        pytest.raises(DownloadError, match="its bytes is 1000"),
    ):
        get(wanted(target, server.url, bytes=len(DATA)))
    assert not Path(target).exists()


def test_a_busy_server_is_waited_for(target: str) -> None:
    busy = replace(GOOD, status=503, headers={"Retry-After": "7"})
    waits: list[float] = []
    with serving(busy, busy, GOOD) as server:
        fetch(wanted(target, server.url), patience=HURRIED, sleep=waits.append)
    assert waits == [7.0, 7.0]
    assert Path(target).read_bytes() == DATA


@pytest.mark.parametrize("first", [replace(GOOD, status=404), replace(GOOD, data=OTHER), HALF])
def test_a_mirror_stands_in(target: str, first: Served) -> None:
    gone = replace(GOOD, status=500)
    with serving(first, gone) as broken, serving(replace(GOOD, etag='"mirror"')) as mirror:
        note = get(wanted(target, broken.url, mirror.url, sha256=sha256(DATA)))
    assert Path(target).read_bytes() == DATA
    assert note.url == mirror.url


def test_a_mirror_goes_on_with_a_part_only_where_the_digest_is_known(target: str) -> None:
    for recorded, expected in (({"sha256": sha256(DATA)}, "bytes=700000-"), ({}, None)):
        with serving(HALF, replace(GOOD, status=404)) as broken, serving(GOOD) as mirror:
            get(wanted(f"{target}{len(recorded)}", broken.url, mirror.url, **recorded))
        assert mirror.requests[0].headers.get("Range") == expected


@pytest.mark.parametrize("conditions", [True, False])
def test_a_stored_file_is_asked_for_again_and_kept_where_it_is_the_same(
    target: str, conditions: bool
) -> None:
    with serving(replace(GOOD, conditions=conditions)) as server:
        first = get(wanted(target, server.url))
        assert get(wanted(target, server.url)) == first
        assert server.requests[1].headers["If-None-Match"] == '"one"'
        server.answers = [Served(OTHER, etag='"two"')]
        assert get(wanted(target, server.url)).etag == '"two"'
    assert Path(target).read_bytes() == OTHER


def test_a_stored_file_serves_while_its_server_is_down(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(GOOD) as server:
        first = get(wanted(target, server.url))
    assert get(wanted(target, server.url)) == first
    assert "using the copy in storage" in caplog.text


def test_credentials_are_used_and_never_shown(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(GOOD, replace(GOOD, status=403)) as server:
        host = server.url.removeprefix("http://")
        secret = f"http://ann:pass-word@{host}faces.tgz?X-Amz-Signature=5ec4e7f00d&part=2"
        hidden = url_secrets.hide(secret)
        assert hidden == f"http://{host}faces.tgz?part=2"
        get(wanted(target, hidden))
        with pytest.raises(DownloadError) as failure:
            get(wanted(target + "2", hidden))
    assert "X-Amz-Signature=5ec4e7f00d" in server.requests[0].path
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    written = "".join(path.read_text() for path in Path(target).parent.glob("*.json"))
    for text in (caplog.text, str(failure.value), written):
        assert "5ec4e7f00d" not in text
        assert "pass-word" not in text


def test_a_proxy_of_the_environment_is_used(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(GOOD) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        get(wanted(target, "http://faces.invalid/faces.tgz"))
    assert proxy.requests[0].path == "http://faces.invalid/faces.tgz"
    assert Path(target).read_bytes() == DATA


def test_two_runs_at_once_fetch_a_file_once(target: str) -> None:
    with serving(replace(GOOD, hang=0.2)) as server:
        file = wanted(target, server.url, sha256=sha256(DATA))
        runs = [threading.Thread(target=get, args=(file,)) for _ in range(3)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    assert len(server.requests) == 1
    assert Path(target).read_bytes() == DATA


def test_a_download_is_streamed_into_object_storage_and_resumed(bucket: str) -> None:
    target = storage.join(bucket, "downloads", "faces.tgz")
    with serving(HALF, GOOD) as server:
        note = get(wanted(target, server.url))
    assert storage.read_bytes(target) == DATA
    assert note.sha256 == sha256(DATA)
    with serving(replace(GOOD, status=404)) as server, pytest.raises(DownloadError):
        get(wanted(target + "2", server.url))
    with serving(HALF, replace(GOOD, status=404)) as server, pytest.raises(DownloadError):
        get(wanted(target + "2", server.url))
    assert not storage.exists(target + "2")


def test_any_file_system_can_be_a_mirror(bucket: str, target: str) -> None:
    storage.write_bytes(storage.join(bucket, "faces.tgz"), DATA)
    get(wanted(target, storage.join(bucket, "nothing"), storage.join(bucket, "faces.tgz")))
    assert Path(target).read_bytes() == DATA


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:p@h/a.tgz", "https://h/a.tgz"),
        ("https://h/a?sv=2024&se=1&sig=x%2F&id=7", "https://h/a?id=7"),
        ("https://h/a?AWSAccessKeyId=AKIA&Signature=s&Expires=1", "https://h/a"),
        ("https://h/a?q=" + "x" * 40, "https://h/a?q=sha256-bd913ff6"),
        ("sftp://u:p@h/a#1", "sftp://h/a#1"),
        ("s3://bucket/a?b#c", "s3://bucket/a?b#c"),
        ("/a/folder@home", "/a/folder@home"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str) -> None:
    assert url_secrets.hide(address) == shown
    assert url_secrets.whole(shown) == address
