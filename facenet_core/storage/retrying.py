"""What another try at an object store may cure, how long to wait for it, and how failure reads.

The clients try a request that got no answer or a bad one a few times (see `clients`). What they
leave over is decided here, once for every kind of store: answers that end early, throttling that
they don't know, and servers that need longer than that.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from facenet_core.errors import AccessError, FacenetError, StorageError

Result = TypeVar("Result")

TRIES = 4
WEB_TRIES = 7  # the client for http has no tries of its own: up to 25 s of waiting in all
FIRST_WAIT = 0.5  # seconds, doubled with each try
LONGEST_WAIT = 10.0

_GONE = {404, 410}
_LOOKS = ("read", "looked up")
TEMPORARY_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_CODES = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "BadDigest"}
_CODES |= {"IncompleteBody", "XAmzContentSHA256Mismatch", "TooManyRequests", "Throttling"}
_NETWORK = {errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EPIPE}
_NETWORK |= {errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH}
# By name: which of these libraries is there depends on the store.
_KINDS = {"ConnectionError", "HTTPClientError", "TimeoutError", "FSTimeoutError"}
_KINDS |= {"ClientConnectionError", "ClientPayloadError", "IncompleteRead", "ResponseParserError"}
_NOTHING_THERE = {"FileNotFoundError", "LookupError", "error_perm"}  # the last is FTP's
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
_NO_CREDENTIALS |= {"ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError"}


class CutShort(OSError):
    """The store sent fewer or more bytes than were asked for."""


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: never where access is denied or nothing there."""
    if isinstance(error, CutShort):
        return True
    status, code = _answer(error)
    if status or code:
        return status in TEMPORARY_STATUSES or code in _CODES
    if _kinds(error) & _KINDS:
        return True
    if isinstance(error, OSError) and error.errno in _NETWORK:
        return True
    return error.__cause__ is not None and transient(error.__cause__)


def retried(uri: str, operation: Callable[[], Result]) -> Result:
    """Carry out an operation that can be repeated, with a `random_wait` before each retry."""
    for number in range(_tries(uri) - 1):
        try:
            return operation()
        except Exception as error:
            if not transient(error):
                raise
            time.sleep(random_wait(number, FIRST_WAIT, LONGEST_WAIT))
    return operation()


def random_wait(number: int, first: float, longest: float) -> float:
    """Seconds to wait before retry `number`, from 0: uniform in [0, first * 2^number).

    Clients that failed together then don't return together ("full jitter", AWS Architecture Blog,
    Exponential Backoff And Jitter).
    """
    return random.uniform(0, min(longest, first * 2**number))


def _tries(uri: str) -> int:
    return WEB_TRIES if _on_the_web(uri) else TRIES


def _on_the_web(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))


@contextmanager
def reported(uri: str, verb: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn what file systems raise into a StorageError; a missing file stays FileNotFoundError.

    Args:
        verb: what was to be done with it: `read`, `written` …
        kind: what is turned: OSError alone where the block holds somebody else's code.

    Raises:
        AccessError: the store says no, and would say so again.
        StorageError: anything else.
    """
    try:
        yield
    except FacenetError:
        raise
    except (kind, FileNotFoundError) as error:
        if not _is_missing(error, verb):
            raise _explained(uri, verb, error) from error
        if verb == "written" and "://" in uri:
            bucket = uri.split("://", 1)[1].split("/", 1)[0]
            raise AccessError(
                f"{uri}: cannot be written: there is no bucket {bucket}; create it, or choose "
                "another storage root"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise
        raise FileNotFoundError(uri) from error


def asked(uri: str, verb: str, operation: Callable[[], Result]) -> Result:
    """What a file system answers: asked again while that may help, its failures explained.

    Raises: as `reported`.
    """
    with reported(uri, verb):
        return retried(uri, operation)


def _is_missing(error: Exception, verb: str) -> bool:
    """Whether a file system says that nothing is there, rather than that it cannot say.

    fsspec's HTTP makes a FileNotFoundError of every failure; what it was is in the cause.
    """
    status, _ = _answer(error)
    if status:
        return status in _GONE and (isinstance(error, FileNotFoundError) or verb in _LOOKS)
    if isinstance(error, NotADirectoryError):
        return verb in _LOOKS
    cause = error.__cause__
    return isinstance(error, FileNotFoundError) and (
        cause is None or bool(_kinds(cause) & _NOTHING_THERE)
    )


def _explained(uri: str, verb: str, error: Exception) -> StorageError:
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status, code = _answer(error)
    message = str(error)
    if {"ClientResponseError"} & _kinds(error):  # aiohttp's, whose text repeats the address
        message = f"HTTP {status} {getattr(error, 'message', '')}".rstrip()
    reason = getattr(error, "strerror", None) or message or _name(error)
    said = f"{uri}: cannot be {verb}: {reason}"
    if _kinds(error) & _NO_CREDENTIALS:
        return AccessError(
            f"{said}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if "://" in uri and (isinstance(error, PermissionError) or status in (401, 403)):
        if _on_the_web(uri):
            return AccessError(f"{said}; the server wants credentials that are not known here")
        return AccessError(
            f"{said}; check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) and "
            "what they may do there"
        )
    if transient(error) and "://" in uri:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        at_endpoint = f" ({endpoint})" if endpoint and uri.startswith("s3") else ""
        times = f"was asked {_tries(uri)} times"
        return StorageError(f"{said}; the store{at_endpoint} {times}")
    if 400 <= status < 500 or code:
        return AccessError(said)
    return StorageError(said)


def _answer(error: BaseException) -> tuple[int, str]:
    """HTTP status and error code of an answer, 0 and empty where the error is no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status or 0), str(response.get("Error", {}).get("Code", ""))
    for name in ("status", "status_code", "code"):  # aiohttp's, azure's, gcsfs'
        if isinstance(value := getattr(error, name, None), int):
            return value, ""
    if isinstance(error, OSError) and error.__cause__ is not None:
        return _answer(error.__cause__)  # s3fs makes an OSError of botocore's
    return 0, ""


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _name(error: Exception) -> str:
    return type(error).__name__
