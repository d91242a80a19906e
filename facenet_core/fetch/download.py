"""Download files into storage: resumable, from mirrors, verified, complete or not at all.

`fetch` tries each address in turn. A broken connection is resumed where it stopped, by Range with
If-Range, so that a file that has changed is downloaded again from its start (RFC 9110, 13.1.5 and
14). Temporary failures are retried with exponential back-off and full jitter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from facenet_core.errors import SourceError
from facenet_core.fetch.http import Changed, TemporaryFailure, Unavailable, transfer
from facenet_core.fetch.partial_file import PartialFile, Stored, open_partial, stored
from facenet_core.fetch.wanted import Wanted
from facenet_core.privacy import url_secrets
from facenet_core.progress import Progress, silent
from facenet_core.storage.retrying import random_wait

_log = logging.getLogger(__name__)


class DownloadError(SourceError):
    """None of a file's addresses gave it."""


@dataclass(frozen=True)
class Patience:
    """How long a fetch keeps trying.

    Attributes:
        tries: at one address, in a row, without a byte of progress.
        timeout: seconds to wait for a connection or for the next bytes.
        pause: seconds before the second try; doubled for each further one.
        longest_pause: seconds.
    """

    tries: int = 5
    timeout: float = 60.0
    pause: float = 1.0
    longest_pause: float = 60.0


def fetch(
    wanted: Wanted,
    progress: Progress = silent,
    patience: Patience = Patience(),
    sleep: Callable[[float], None] = time.sleep,
) -> Stored:
    """Download a file into storage, unless the same file is stored already.

    A stored file with the digest that is known is used without asking the server. Otherwise the
    server is asked whether the file has changed; if it does not answer, the stored file is used.

    Args:
        progress: called with the number of bytes so far, and their number in all.

    Raises:
        DownloadError: no address gave the file; the message names each address and its problem.
    """
    if (existing := stored(wanted)) is not None and (wanted.sha256 or wanted.md5):
        return existing
    with open_partial(wanted.uri, pinned=bool(wanted.sha256)) as file:
        if (existing := stored(wanted)) is not None:  # another run may have fetched it
            if wanted.sha256 or wanted.md5:
                return existing
            file.previous = existing
        problems = []
        for number, address in enumerate(wanted.urls):
            if number:
                file.leave_address()
            try:
                if _from_one(address, wanted, file, progress, patience, sleep):
                    return file.publish(wanted, address)
                assert existing is not None  # the server says that it has not changed
                return existing
            except Unavailable as error:
                problems.append(f"{address}: {url_secrets.scrub(str(error))}")
        if existing is not None:
            _log.warning("%s: using the copy in storage: %s", address, "; ".join(problems))
            return existing
    raise DownloadError(
        f"{wanted.uri.rpartition('/')[2]}: cannot be fetched: {'; '.join(problems)}. Run it again "
        "to go on from where it stopped, or fetch it by hand"
    )


def _from_one(
    address: str,
    wanted: Wanted,
    file: PartialFile,
    progress: Progress,
    patience: Patience,
    sleep: Callable[[float], None],
) -> bool:
    """Fetch from one address. Returns False if the stored file is still the newest.

    Raises:
        Unavailable: the address does not give the file.
    """
    failures, furthest, resumed = 0, file.size, file.size > 0
    while True:
        try:
            if not transfer(url_secrets.whole(address), file, progress, patience.timeout):
                return False
            problem = file.mismatch(wanted)
            if problem is None:
                return True
            file.restart()
            if not resumed:
                raise Unavailable(problem)
            resumed = False  # the part of an earlier try may have been another file's
        except Changed:
            file.restart()
            failures += 1
            if failures >= patience.tries:
                raise Unavailable("the file changes while it is fetched") from None
        except TemporaryFailure as error:
            failures = 0 if file.size > furthest else failures + 1
            furthest = max(furthest, file.size)
            resumed = file.size > 0
            if failures >= patience.tries:
                raise Unavailable(f"{error}, {failures} times in a row") from error
            wait = random_wait(max(failures - 1, 0), patience.pause, patience.longest_pause)
            sleep(max(wait, min(error.wait or 0.0, patience.longest_pause)))
