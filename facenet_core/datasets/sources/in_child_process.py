"""Reading a source in a child process, because its reader is written in C++.

Readers of complicated formats have bugs, and a malicious or damaged file can crash the process that
reads it. Here only the child process ends, and the error names the file.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from facenet_core import runtime
from facenet_core.errors import FacenetError, SourceError
from facenet_core.privacy import url_secrets

T = TypeVar("T")


def iterate(call: Callable[[], Iterator[T | str]], source: str) -> Iterator[T]:
    """Yield the items of an iterator that runs in a child process.

    Args:
        call: makes the iterator. It can be pickled, like everything that the iterator yields. A
            string that it yields names the file it reads next, for errors, and is not passed on.
        source: named in errors until the iterator names a file.

    Raises:
        SourceError: the child died.
        FacenetError: what the iterator raises; SourceError for other errors.
    """
    with subprocess.Popen(
        runtime.child_command(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=runtime.child_environment(),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump(call, child.stdin)
            child.stdin.close()
            while True:
                answer = pickle.load(child.stdout)
                if answer is None:
                    return
                if isinstance(answer, Exception):
                    answer.__notes__ = [url_secrets.scrub(note) for note in answer.__notes__]
                    raise answer
                if isinstance(answer, str):
                    source = answer
                else:
                    yield answer
        except (EOFError, pickle.UnpicklingError, BrokenPipeError):
            child.stdout.close()  # so that it ends, if it has not
            raise SourceError(
                f"{source}: the process that read it died ({runtime.describe_exit(child.wait())}): "
                "the file is damaged, or memory ran out"
            ) from None
        finally:
            child.kill()


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C
    # Libraries that print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        for answer in _answers():
            pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
            if isinstance(answer, str):
                answers.flush()
        answers.flush()
    except BrokenPipeError:  # nobody listens any more
        pass
    os._exit(0)


def _answers() -> Iterator[Any]:
    """The items of the iterator, then None or the error that it raised."""
    try:
        yield from pickle.load(sys.stdin.buffer)()
    except Exception as error:
        # Other libraries' errors need not survive a pickle, and no traceback does.
        answer = (
            error
            if isinstance(error, FacenetError)
            else SourceError(f"{type(error).__name__}: {error}")
        )
        answer.add_note(f"In the process that read it:\n{traceback.format_exc()}")
        yield answer
    else:
        yield None


if __name__ == "__main__":
    _serve()
