"""The cache folder: it saves time, and no work fails for want of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from facenet_core import cache
from facenet_core.cache import cache_folder
from facenet_core.datasets.memo import MEMO, file_sha256
from facenet_core.errors import StorageError
from facenet_core.privacy import find_person


@pytest.fixture
def in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder that cannot be made."""
    (tmp_path / "cache").write_text("a file is in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache._temporary.cache_clear()
    yield tmp_path / "cache"
    cache._temporary.cache_clear()


def test_without_a_cache_folder_work_goes_on_and_the_remedy_is_told_once(
    in_the_way: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photograph = tmp_path / "a.jpg"
    photograph.write_bytes(b"pixels")
    assert file_sha256(photograph) == hashlib.sha256(b"pixels").hexdigest()
    assert file_sha256(photograph) == hashlib.sha256(b"pixels").hexdigest()
    (text,) = caplog.messages
    assert str(in_the_way) in text
    assert "set XDG_CACHE_HOME" in text


def test_a_user_without_a_home_gets_no_folder_called_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "~")
    assert cache_folder().is_absolute()
    assert list(tmp_path.iterdir()) == []


def test_a_memo_that_cannot_be_opened_is_done_without_except_for_forgetting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cache_folder() / MEMO).mkdir()
    photograph = tmp_path / "a.jpg"
    photograph.write_bytes(b"pixels")
    assert file_sha256(photograph) == hashlib.sha256(b"pixels").hexdigest()
    with pytest.raises(StorageError, match=f"{MEMO}: cannot be changed"):
        find_person.forget_paths("Ann")
