"""One request for a file or the rest of it, by HTTP or through fsspec."""

from __future__ import annotations

import email.utils
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from facenet_core import storage
from facenet_core.errors import StorageError
from facenet_core.fetch.partial_file import PartialFile, Stored
from facenet_core.privacy import url_secrets
from facenet_core.progress import Progress
from facenet_core.storage.retrying import TEMPORARY_STATUSES

if TYPE_CHECKING:
    import httpx

_BLOCK = 2**18
_LARGEST_OF_UNKNOWN = 16 * 2**30  # bytes of a response that states no size


class TemporaryFailure(Exception):
    """Another try may succeed, after `wait` seconds if the server says so."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Unavailable(Exception):
    """This address does not give the file, and would not if it were tried again."""


class Changed(Exception):
    """The file at the address is not the one whose first part is stored."""


def transfer(url: str, file: PartialFile, progress: Progress, timeout: float) -> bool:
    """Append what is missing of the file. Returns False if the stored file is still the newest.

    Raises:
        TemporaryFailure, Unavailable, Changed: what came so far stays in `file`.
    """
    if (
        file.size and file.size == file.total
    ):  # an earlier run ended just before it published the file
        return True
    if re.match(r"https?://", url, re.IGNORECASE):
        return _http(url, file, progress, timeout)
    _any(url, file, progress)
    return True


def _http(url: str, file: PartialFile, progress: Progress, timeout: float) -> bool:
    import httpx

    auth = None
    with suppress(OSError, ValueError):  # no ~/.netrc, or one that cannot be parsed
        auth = httpx.NetRCAuth()
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, auth=auth) as client,
            client.stream("GET", url, headers=_headers(file)) as answer,
        ):
            if not _accept(answer, file):
                return False
            progress(file.size, file.total)
            for block in answer.iter_raw():
                _append(file, block)
                progress(file.size, file.total)
    except httpx.TimeoutException:
        raise TemporaryFailure(f"nothing came for {timeout:g} s") from None
    except httpx.TransportError as error:
        reason = url_secrets.scrub(str(error)) or type(error).__name__
        raise TemporaryFailure(f"{reason} (after {file.size:,} bytes)") from None
    except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise Unavailable(url_secrets.scrub(str(error))) from None
    if file.total is not None and file.size < file.total:
        raise TemporaryFailure(f"ended after {file.size:,} of {file.total:,} bytes")
    return True


def _append(file: PartialFile, block: bytes) -> None:
    """Write a block, unless the file would then have more bytes than it should.

    Raises:
        Changed: more bytes came than the server announced.
        Unavailable: the server announced no size, and more bytes came than any file has.
    """
    size = file.size + len(block)
    if file.total is not None and size > file.total:
        raise Changed
    if file.total is None and size > _LARGEST_OF_UNKNOWN:
        file.restart()
        raise Unavailable(
            f"more than {_LARGEST_OF_UNKNOWN:,} bytes came, and the server does not say how many "
            "there will be"
        )
    file.write(block)


def _headers(file: PartialFile) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "facenet-pipeline"}
    if file.size:
        validator = _strong(file.etag) or file.last_modified
        if validator is None and not file.pinned:
            file.restart()  # nothing shows whether the rest belongs to the same file
        else:
            headers["Range"] = f"bytes={file.size}-"
            if validator is not None:
                headers["If-Range"] = validator
    elif file.previous is not None:
        if file.previous.etag:
            headers["If-None-Match"] = file.previous.etag
        elif file.previous.last_modified:
            headers["If-Modified-Since"] = file.previous.last_modified
    return headers


def _accept(answer: httpx.Response, file: PartialFile) -> bool:
    """Prepare `file` for the body of a response. Returns False if it is not modified."""
    status = answer.status_code
    etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    if status == 304 and file.previous is not None:
        return False
    if status == 206 and file.size:
        start, total = _content_range(answer.headers.get("Content-Range", ""))
        if start != file.size:
            raise Changed
        validators = (file.etag, etag) if file.etag and etag else (file.last_modified, modified)
        if None not in validators and validators[0] != validators[1]:
            raise Changed
        if None not in (file.total, total) and file.total != total:
            raise Changed
        file.begin(file.etag or etag, file.last_modified or modified, total or file.total)
        return True
    if status == 200:
        if file.previous is not None and _same(file.previous, etag, modified):
            return False  # the server ignores conditions, but the stored file is the same
        if file.size:
            file.restart()  # the server ignores ranges, or the file changed
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise Unavailable("a web page, not a file: one to log in, or to confirm the download")
        length = answer.headers.get("Content-Length", "")
        file.begin(etag, modified, int(length) if length.isdigit() else None)
        return True
    if status == 416 and file.size:
        raise Changed
    reason = f"HTTP {status} {answer.reason_phrase}".rstrip()
    if status in TEMPORARY_STATUSES:
        raise TemporaryFailure(reason, _retry_after(answer.headers.get("Retry-After", "")))
    raise Unavailable(reason)


def _same(previous: Stored, etag: str | None, modified: str | None) -> bool:
    if etag is not None and previous.etag is not None:
        return etag == previous.etag
    return modified is not None and modified == previous.last_modified


def _content_range(value: str) -> tuple[int | None, int | None]:
    """First byte and whole length of `bytes 500-999/1000`."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", value.strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _strong(etag: str | None) -> str | None:
    """Weak tags must not be used with If-Range."""
    return None if etag is None or etag.startswith("W/") else etag


def _retry_after(value: str) -> float | None:
    """Seconds to wait, given as such or as a date."""
    if value.isdigit():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _any(url: str, file: PartialFile, progress: Progress) -> None:
    """Fetch through fsspec. A partial file is resumed if the size and tag are unchanged."""
    try:
        fs, path = storage.file_system(url)
        info = fs.info(path)
        total = info.get("size")
        tag = str(info.get("ETag") or info.get("mtime") or info.get("LastModified") or "")
        if file.size and (file.etag, file.total) != (tag, total):
            file.restart()
        file.begin(tag, None, total)
        with fs.open(path, "rb") as source:
            source.seek(file.size)
            progress(file.size, total)
            while block := source.read(_BLOCK):
                _append(file, block)
                progress(file.size, total)
    except (Changed, Unavailable):
        raise
    except (FileNotFoundError, PermissionError, StorageError) as error:
        raise Unavailable(url_secrets.scrub(f"{type(error).__name__}: {error}")) from None
    except Exception as error:  # every protocol has its own kinds
        raise TemporaryFailure(url_secrets.scrub(f"{type(error).__name__}: {error}")) from None
    if total is not None and file.size != total:
        raise TemporaryFailure(f"ended after {file.size:,} of {total:,} bytes")
