"""Going through a source in a process of its own, where what reads it is written in C++.

Readers of complicated formats have bugs, and a file that somebody built or broke can make one crash
the process it runs in. Here that ends the child and no more, and the file is named.
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

from facenet_core import child_process
from facenet_core.errors import FacenetError, SourceError

T = TypeVar("T")


def iterate(call: Callable[[], Iterator[T | str]], source: str) -> Iterator[T]:
    """What an iterator made in a child yields, without the words that say where it is by now.

    Args:
        call: can be pickled, like everything that its iterator yields.
        source: what is read, where a child dies before it says so itself.

    Raises:
        SourceError: the child died.
        FacenetError: what the iterator raises; SourceError for other errors.
    """
    with subprocess.Popen(
        child_process.command(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_process.environment(),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump(call, child.stdin)
            child.stdin.close()
            while True:
                found = pickle.load(child.stdout)
                if found is None:
                    return
                if isinstance(found, Exception):
                    raise found
                if isinstance(found, str):
                    source = found
                else:
                    yield found
        except (EOFError, pickle.UnpicklingError, BrokenPipeError):
            child.stdout.close()  # so that it ends, if it has not
            raise SourceError(
                f"{source}: the process that read it died ({child_process.fate(child.wait())}): "
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
        for found in _answers():
            pickle.dump(found, answers, protocol=pickle.HIGHEST_PROTOCOL)
            if isinstance(found, str):
                answers.flush()
        answers.flush()
    except BrokenPipeError:  # nobody listens any more
        pass
    os._exit(0)


def _answers() -> Iterator[Any]:
    """What the iterator yields and None, or what it raises as the last."""
    try:
        yield from pickle.load(sys.stdin.buffer)()
    except Exception as error:
        # Other libraries' errors need not survive a pickle, and no traceback does.
        known = isinstance(error, FacenetError)
        told = error if known else SourceError(f"{type(error).__name__}: {error}")
        told.add_note(f"In the process that read it:\n{traceback.format_exc()}")
        yield told
    else:
        yield None


if __name__ == "__main__":
    _serve()
