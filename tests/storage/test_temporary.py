"""What is being written: nobody takes it away from a living writer, and a killed one's is removed.

A writer in another container looks like this: its process id means nothing here, and its host name
may be the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.datasets.memo import Memo
from facenet_core.errors import StorageError
from facenet_core.storage import temporary

WRITES_FOR_EVER = """
import signal, sys
from facenet_core import storage
block = storage.new_file(sys.argv[1]) if len(sys.argv) > 1 else storage.temporary_folder()
with block as path:
    if path.is_dir():
        (path / "photograph").write_bytes(b"a face")
    else:
        path.write_bytes(b"half")
    print(path, flush=True)
    signal.pause()
"""


@contextmanager
def writer(*words: str, before: tuple[str, ...] = ()) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A process that never ends writing, and what it writes."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", WRITES_FOR_EVER, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture
def tmpdir_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary._sweep_once.cache_clear()
    return tmp_path


def test_a_file_is_swept_away_when_its_writer_is_dead_and_not_before(root: str) -> None:
    with writer(storage.join(root, "part")) as (process, file):
        storage.sweep(root)
        assert file.read_bytes() == b"half"
        process.send_signal(signal.SIGKILL)
        process.wait()
        storage.sweep(root)
        assert not file.exists()


def test_a_file_that_is_written_in_another_container_stays(root: str) -> None:
    unshare = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make process namespaces")
    with writer(storage.join(root, "part"), before=unshare) as (_, file):
        storage.sweep(root)
        assert file.exists()


def test_a_file_of_another_machine_is_swept_away_only_when_it_is_old(root: str) -> None:
    file = Path(root) / f".part.{'0' * 12}.7.{'1' * 32}.tmp"
    file.parent.mkdir()
    file.touch()
    storage.sweep(root)
    assert file.exists()
    os.utime(file, (0, 0))
    storage.sweep(root)
    assert not file.exists()


def test_what_a_killed_process_left_in_tmpdir_is_removed_by_the_next_run(
    tmpdir_of_its_own: Path, root: str
) -> None:
    own = tmpdir_of_its_own / "facenet-photographs"  # a folder of the user's
    own.mkdir()
    with writer() as (process, folder):
        assert folder.parent == tmpdir_of_its_own
        assert folder.stat().st_mode & 0o777 == 0o700
        storage.check_writable(root)
        assert (folder / "photograph").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        temporary._sweep_once.cache_clear()  # another process
        storage.check_writable(root)
        assert not folder.exists()
    assert own.exists()


def test_an_upload_leaves_nothing_in_tmpdir(tmpdir_of_its_own: Path) -> None:
    storage.write_bytes("memory://bucket/file", b"a face")
    assert storage.read_bytes("memory://bucket/file") == b"a face"
    assert list(tmpdir_of_its_own.iterdir()) == []


def test_nobody_else_may_look_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "facenet-pipeline").mkdir(mode=0o755)  # as versions before made it
    Memo().close()
    assert cache_folder().stat().st_mode & 0o777 == 0o700
    assert (cache_folder() / "sha256.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("mode", "expected"), [(0o666, 0o640), (0o600, 0o600)])
def test_files_are_open_to_whom_the_umask_says(root: str, mode: int, expected: int) -> None:
    before = os.umask(0o027)
    try:
        with storage.new_file(storage.join(root, "file"), mode) as path:
            path.write_bytes(b"x")
    finally:
        os.umask(before)
    assert (Path(root) / "file").stat().st_mode & 0o777 == expected


def test_scratch_arrays_are_zeros_on_disk_that_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = storage.scratch((3, 2))
    array[1] = 7
    np.testing.assert_array_equal(array, [[0, 0], [7, 7], [0, 0]])
    assert not list(tmp_path.iterdir())
    assert storage.scratch((0, 2)).shape == (0, 2)
    with pytest.raises(StorageError, match="set TMPDIR"):
        storage.scratch((2**20, 2**30))
