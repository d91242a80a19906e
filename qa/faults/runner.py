"""A process that runs the command line again and again, so that a run need not load TensorFlow.

    python -m qa.faults.runner

reads one JSON object a line, `{"words": [...], "tag": "...", "log": "file"}`, runs `facenet` with
these words in this process, and answers with a line that holds its exit status. Whoever kills it
kills a flow process in the middle of its run. `Runner` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# What containers of one pod have: a host name in common, and process ids that mean nothing outside.
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
CONTAINER += ("--mount", "--mount-proc")
# The folder that follows these words is a full disk for the command alone that follows it.
FULL_DISK = """\
mount -t tmpfs -o size=64k tmpfs "$0" && head -c 1m /dev/zero > "$0/full"
exec "$@"
"""


class Runner:
    """The other end: starts such a process, hands it one command at a time.

    Args:
        before: words before the command that starts it.
    """

    def __init__(self, before: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "qa.faults.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ready = False
        self._answer: int | None = None
        self._reader: threading.Thread | None = None

    def wait_until_ready(self) -> None:
        """Until everything is imported. Raises RuntimeError if it never will be."""
        assert self.process.stdout is not None
        if not self._ready and self.process.stdout.readline() != "ready\n":
            raise RuntimeError("a runner did not start")
        self._ready = True

    def begin(self, words: Sequence[object], tag: str, log: Path) -> None:
        """Start `facenet WORDS`; its flow and task runs carry `tag`, its output goes to `log`."""
        assert self.process.stdin is not None
        ask = {"words": [str(word) for word in words], "tag": tag, "log": str(log)}
        self.process.stdin.write(json.dumps(ask) + "\n")
        self.process.stdin.flush()
        self._answer = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float = 400) -> int:
        """Exit status of the command; negative, as of `subprocess`, where it was killed.

        Raises:
            TimeoutError: it hangs; the process is killed.
        """
        assert self._reader is not None
        self._reader.join(timeout)
        if self._reader.is_alive():
            self.close()
            raise TimeoutError("the command hangs")
        return self.process.wait() if self._answer is None else self._answer

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self._answer = int(line) if line else None


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    answers = os.fdopen(os.dup(1), "w")  # what else is printed goes nowhere near it
    os.dup2(2, 1)
    from prefect import tags

    from facenet_core.runtime import quietly
    from flows.cli import main as cli

    with quietly():
        from facenet_core.evaluation import stage
        from facenet_core.evaluation.report import page, plots
        from facenet_core.training import trainer
        from flows import pipeline

    assert all((plots, page, stage, trainer, pipeline))  # imported for the time it takes
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        with (
            open(ask["log"], "a", encoding="utf-8") as log,
            tags(ask["tag"]),
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            status = cli.main(ask["words"])
        print(status, file=answers, flush=True)


if __name__ == "__main__":
    main()
