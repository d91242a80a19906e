"""A process that reads inputs of one target, and tells of each before it touches it.

python -m qa.fuzz.worker TARGET SEED START STOP FOLDER

It prints a JSON list for each input that is a find, `[number, kind, detail]`, and the number of
each input into the file FOLDER/touched before it is read, so that a death names its input.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from .guard import TooSlow, Watch
from .target import Target
from .targets import find

_MEMORY = 6 * 2**30  # bytes of address space beyond what the engines have mapped at the start
_OF_FUZZING = os.sep + "fuzz" + os.sep


def read(target: Target, data: bytes, folder: Path, watch: Watch) -> tuple[str, str]:
    """What becomes of an input: `accepted`, `refused`, `crash`, `hang` or `outside`; and a word."""
    detail, outcome = "", "accepted"
    try:
        with watch.input(target.seconds):
            target.read(data, folder)
    except target.refusals as error:
        outcome, detail = "refused", str(error)
    except TooSlow:
        outcome, detail = "hang", f"more than {target.seconds:g} s"
    except MemoryError as error:
        outcome, detail = "crash", f"MemoryError {error}, {_place(error)}"
    except Exception as error:
        outcome, detail = "crash", f"{type(error).__name__}: {error!s:.200}, {_place(error)}"
    if watch.breaches:
        outcome, detail = "outside", "; ".join(watch.breaches[:3])
    _empty(folder)
    return outcome, detail


def _empty(folder: Path) -> None:
    """Making a folder anew takes longer than most inputs."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _place(error: BaseException) -> str:
    """Where an error came from: the last frame of this project's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if "site-packages" not in f.filename and _OF_FUZZING not in f.filename
    ]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def main() -> int:
    name, *numbers, path = sys.argv[1:]
    start, first, stop = map(int, numbers)
    home = Path(path)
    target = find(name)
    target.make(start, first)  # imports and draws before anything is watched
    folder = home / "work" / "input"
    folder.mkdir()
    _warm_up(target, folder)
    _limit_memory()
    watch = Watch((home / "work", Path(tempfile.gettempdir())), target.network)
    counts: Counter[str] = Counter()
    with (home / "touched").open("w") as touched:
        for number in range(first, stop):
            data = target.make(start, number)
            touched.seek(0)
            touched.write(f"{number:12d}")
            touched.flush()
            outcome, detail = read(target, data, folder, watch)
            counts[outcome] += 1
            if outcome not in ("accepted", "refused"):
                print(json.dumps([number, outcome, detail]), flush=True)
            if number % 500 == 0:
                gc.collect()
    print(json.dumps(counts), flush=True)
    return 0


def _warm_up(target: Target, folder: Path) -> None:
    """Read a valid input, so that what is imported and cached on the way is there."""
    try:
        target.read(target.make(0, 0), folder)
    except target.refusals as error:
        raise SystemExit(f"{target.name}: its first seed is refused: {error}") from error
    _empty(folder)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        limit = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # engines that crash while they are taken down are no input's fault
