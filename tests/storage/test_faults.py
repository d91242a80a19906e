"""Object stores that fail: what is asked again, what is said at once, and that nothing is cut."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.errors import AccessError, ConfigError, StorageError
from facenet_core.storage import clients, reading, retrying
from flows.cli.main import main
from tests.support.scripted_server import Served, serving
from tests.support.scripted_store import Store, store

DATA = random.Random(0).randbytes(300_000)
SECRET = "recognisable-secret-4711"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store without waits, and the environment to reach it."""
    with store(DATA) as state:
        monkeypatch.setenv("AWS_ENDPOINT_URL", state.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)
        yield state


@pytest.mark.parametrize("fault", [500, 503, 429, "cut", "short", "stall"])
def test_what_another_try_may_cure_is_asked_again(
    faulty: Store, fault: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "READ_TIMEOUT", 0.3)
    faulty.faults = [fault]
    assert storage.read_bytes("s3://bucket/file") == DATA
    assert faulty.reads == 2


@pytest.mark.parametrize("status", [403, 400])
def test_who_is_refused_does_not_ask_again(faulty: Store, status: int) -> None:
    faulty.faults = [status] * 9
    with pytest.raises(AccessError, match="s3://bucket/file: cannot be read"):
        storage.read_bytes("s3://bucket/file")
    assert faulty.reads == 1


def test_a_file_that_vanished_is_not_asked_for_again(faulty: Store) -> None:
    faulty.faults = [404] * 9
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("s3://bucket/file")
    assert faulty.reads == 1


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_file_that_always_comes_short_is_an_error_and_never_the_file(
    faulty: Store, fault: str
) -> None:
    faulty.faults = [fault] * 99
    with pytest.raises(StorageError, match="s3://bucket/file: cannot be read") as caught:
        storage.read_bytes("s3://bucket/file")
    assert caught.value.retryable
    assert faulty.reads == retrying.TRIES


def test_a_large_file_is_read_in_ranges_of_which_only_the_failed_are_repeated(
    faulty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK", 100_000)
    faulty.faults = ["cut"]
    with storage.open_input("s3://bucket/file", ahead=len(DATA)) as file:
        assert file.read() == DATA
    assert faulty.reads == 4


def test_reading_on_reads_ahead_and_jumping_does_not(faulty: Store) -> None:
    with storage.open_input("s3://bucket/file", ahead=1000) as file:
        file.seek(-10, 2)
        assert file.read(10) == DATA[-10:]
        file.seek(5000)
        assert b"".join(file.read(100) for _ in range(50)) == DATA[5000:10_000]
        file.seek(5500)
        assert file.read(100) == DATA[5500:5600]
    assert faulty.reads <= 4


def test_an_object_that_the_store_keeps_is_an_error(faulty: Store) -> None:
    with pytest.raises(AccessError, match=r"s3://bucket: cannot be removed: .*Access Denied"):
        storage.remove_files("s3://bucket", ["file"])


def test_a_refusal_does_not_show_the_secret(faulty: Store) -> None:
    faulty.faults = [403]
    with pytest.raises(AccessError, match="AWS_PROFILE") as caught:
        storage.read_bytes("s3://bucket/file")
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_is_an_error_with_a_remedy(s3_server: str) -> None:
    with pytest.raises(AccessError, match=r"no bucket nowhere; create it.*--storage"):
        storage.check_writable("s3://nowhere/root")


def test_no_credentials_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(AccessError, match="set AWS_ACCESS_KEY_ID"):
        storage.check_writable("s3://bucket/root")


@pytest.mark.parametrize("uri", [f"s3://key:{SECRET}@bucket/x", f"gs://u:{SECRET}@bucket/x"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(
    uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID") as caught:
        storage.exists(uri)
    assert SECRET not in str(caught.value)
    assert main(["align", str(tmp_path), "--storage", uri]) == 2
    assert SECRET not in "".join(capsys.readouterr())


# --- Servers of the web, which fsspec calls empty whatever they say ---------------------------

PICTURE = b"a picture"


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)


@pytest.mark.parametrize("status", [404, 410])
def test_what_a_server_says_is_gone_is_missing(no_waits: None, status: int) -> None:
    with serving(Served(b"", status=status)) as script:
        assert not storage.exists(script.url + "a.jpg")
        assert storage.size(script.url + "a.jpg") is None
        assert not storage.is_folder(script.url + "a.jpg")
        with pytest.raises(FileNotFoundError):
            storage.read_bytes(script.url + "a.jpg")
        assert len(script.requests) == 4  # none is asked for twice


@pytest.mark.parametrize("status", [503, 500, 429])
@pytest.mark.parametrize("ask", [storage.exists, storage.size, storage.is_folder])
def test_a_server_that_cannot_say_for_a_while_is_asked_again(
    no_waits: None, ask: Callable[[str], object], status: int
) -> None:
    busy = [Served(b"", status=status)] * 3
    with serving(*busy, Served(PICTURE)) as script:
        expected = {storage.exists: True, storage.size: len(PICTURE), storage.is_folder: False}
        assert ask(script.url + "a.jpg") == expected[ask]


@pytest.mark.parametrize(
    ("status", "message"),
    [(503, "HTTP 503 .*asked 7 times"), (403, "HTTP 403 "), (418, "HTTP 418")],
)
@pytest.mark.parametrize("ask", [storage.exists, storage.size, storage.is_folder])
def test_a_server_that_never_says_is_an_error(
    no_waits: None, ask: Callable[[str], object], status: int, message: str
) -> None:
    with serving(Served(b"", status=status)) as script:
        with pytest.raises(StorageError, match=rf"a\.jpg: cannot be looked up: {message}"):
            ask(script.url + "a.jpg")
        assert len(script.requests) == (7 if status == 503 else 1)


def test_a_server_that_is_not_there_is_an_error(no_waits: None) -> None:
    with serving(Served(b"")) as script:
        url = script.url
    with pytest.raises(StorageError, match="asked 7 times"):
        storage.exists(url + "a.jpg")


def test_an_answer_without_a_length_is_no_file_of_no_bytes(no_waits: None) -> None:
    with (
        serving(Served(PICTURE, headers={"Content-Encoding": "x-unknown"})) as script,
        pytest.raises(StorageError, match="does not say how many bytes"),
    ):
        storage.size(script.url + "a.jpg")


def test_a_local_folder_that_cannot_be_entered_is_no_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.stat", refuse)  # root, who runs tests in containers, may enter all
    with pytest.raises(StorageError, match="Permission denied"):
        storage.exists(str(tmp_path / "a.jpg"))
