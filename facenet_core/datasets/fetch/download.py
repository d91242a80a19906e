"""Fetching files into storage: resumed, from mirrors, verified, whole or not at all.

`fetch` tries each address in turn. A connection that breaks goes on where it stopped, by Range with
If-Range, so that a file that changed meanwhile is begun anew (RFC 9110, 13.1.5 and 14). Temporary
failures are tried again with exponential back-off and full jitter.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from facenet_core.datasets.fetch.http import Changed, Refused, Temporary, transfer
from facenet_core.datasets.fetch.locate import Wanted
from facenet_core.datasets.fetch.partial_file import Landing, Stored, landing, stored
from facenet_core.errors import SourceError
from facenet_core.privacy import url_secrets
from facenet_core.progress import Progress, silent

_log = logging.getLogger(__name__)


class DownloadError(SourceError):
    """A file could be had from none of its addresses."""


@dataclass(frozen=True)
class Patience:
    """How long a fetch keeps trying.

    Attributes:
        tries: in a row without a byte of progress, at one address.
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
    """Have a file in storage, fetching it unless it is there and the same.

    A digest that is known makes a stored file good without asking; else the server is asked whether
    it changed, and if none answers, what is stored is used.

    Args:
        progress: called with the bytes that are here, and how many there will be.

    Raises:
        DownloadError: no address gave the file; names each, and why.
    """
    if (existing := stored(wanted)) is not None and (wanted.sha256 or wanted.md5):
        return existing
    with landing(wanted.uri, pinned=bool(wanted.sha256)) as file:
        if (existing := stored(wanted)) is not None:  # a run beside this one may have brought it
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
                assert existing is not None  # the server said that it did not change
                return existing
            except Refused as error:
                problems.append(f"{address}: {url_secrets.scrub(str(error))}")
        if existing is not None:
            _log.warning("%s: using the copy in storage: %s", address, "; ".join(problems))
            return existing
    raise DownloadError(
        f"{wanted.uri.rpartition('/')[2]}: cannot be fetched: {'; '.join(problems)}. Run it again "
        "to go on from where it stopped, or fetch it by hand and ingest the file"
    )


def _from_one(
    address: str,
    wanted: Wanted,
    file: Landing,
    progress: Progress,
    patience: Patience,
    sleep: Callable[[float], None],
) -> bool:
    """Fetch from one address; returns False where the stored file is still the newest.

    Raises:
        Refused: it cannot be had here.
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
                raise Refused(problem)
            resumed = False  # what was kept of an earlier try may have been another file's
        except Changed:
            file.restart()
            failures += 1
            if failures >= patience.tries:
                raise Refused("the file changes while it is fetched") from None
        except Temporary as error:
            failures = 0 if file.size > furthest else failures + 1
            furthest = max(furthest, file.size)
            resumed = file.size > 0
            if failures >= patience.tries:
                raise Refused(f"{error}, {failures} times in a row") from error
            pause = min(patience.longest_pause, patience.pause * 2 ** max(failures - 1, 0))
            retry_after = min(error.wait or 0.0, patience.longest_pause)
            sleep(max(retry_after, random.uniform(0, pause)))
