"""What people wait for: each command on a tiny input, its time split into parts.

    python benchmarks/waiting.py --rounds 5
    python benchmarks/waiting.py --before OTHER_CHECKOUT MODEL

The commands take turns within a round, those of another checkout too, and medians over the rounds
are printed. Parts are of the command's own process: the imports, what it waits for Prefect's server
beside them, the start of Dask's workers, loading and compiling a model, and the rest, its work.
``cpu`` is processor time of the command and of all the processes it started, which depends less on
what else a machine does. With MODEL, two photographs are compared, and one is embedded in Python.
``--cold`` gives every command a Prefect folder and a cache folder that are empty.
"""

from __future__ import annotations

import argparse
import builtins
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

HERE = Path(__file__).resolve()
PARTS = ("imports", "server", "workers", "model", "work")
WARM = ("ingest that is done", "pipeline that is done")  # nothing is, in empty folders
EMBEDDER = "facenet_core.FaceEmbedder"  # in Python, to its first embedding
# Calls that are a part; those that a checkout does not have are left out.
CALLS = {
    "server": [("tasks.prefect.server", "wait")],
    "workers": [("tasks.dask.cluster", "DaskCluster.start")],
    "model": [
        ("facenet_core.models.face_model", "FaceModel.load"),
        ("facenet_core.models.runtimes", "open_runtime"),
    ],
}


class Clock:
    """Seconds of each part; a part inside another one counts as its own alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = ["work"]
        self._since = time.perf_counter()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **keywords: Any) -> Any:
            if current_thread() is not main_thread():
                return call(*args, **keywords)
            self._switch()
            self._parts.append(part)
            try:
                return call(*args, **keywords)
            finally:
                self._switch()
                self._parts.pop()

        return wrapper

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._parts[-1]] += now - self._since
        self._since = now


def run_here(words: list[str]) -> None:
    """Run a command in this process; the last line of stderr is the seconds of its parts."""
    clock = Clock()
    plain = builtins.__import__
    watched = {module for calls in CALLS.values() for module, _ in calls}

    def load(name: str, *args: Any, **keywords: Any) -> Any:
        module = plain(name, *args, **keywords)
        for full in watched & set(sys.modules):
            if getattr(sys.modules[full].__spec__, "_initializing", False):
                continue
            watched.discard(full)
            for part, calls in CALLS.items():
                for path in [path for module_name, path in calls if module_name == full]:
                    _replace(full, path, lambda call, part=part: clock.timed(part, call))
        return module

    builtins.__import__ = clock.timed("imports", load)  # type: ignore[assignment]
    try:
        if words[0] == EMBEDDER:
            module, name = EMBEDDER.rsplit(".", 1)
            getattr(import_module(module), name)(words[1]).embed([words[2]])
        else:
            import_module("flows.cli.main").main(words)
    finally:
        clock._switch()
        print(json.dumps(clock.seconds), file=sys.stderr)


def _replace(module: str, path: str, wrap: Callable[[Any], Any]) -> None:
    owner = sys.modules[module]
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    if isinstance(vars(owner).get(name), classmethod):
        setattr(owner, name, classmethod(wrap(vars(owner)[name].__func__)))
    else:
        setattr(owner, name, wrap(getattr(owner, name)))


def measure(checkout: Path, words: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds of a command in a process of its own: its parts, ``wall`` and ``cpu``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", str(HERE), "--run", *words],
        env={**environment, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        parts = json.loads(done.stderr.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{words}: {done.stderr}") from None
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**{part: parts.get(part, 0.0) for part in PARTS}, "wall": wall, "cpu": cpu}


def commands(folder: Path, model: str | None) -> dict[str, list[str]]:
    """The commands by name, on ten drawn photographs in `folder`."""
    from facenet_core.synthetic_faces import generate

    photographs = folder / "ten"
    for number in range(10):
        person = photographs / f"P{number // 2}"
        person.mkdir(parents=True, exist_ok=True)
        (person / f"{number}.jpg").write_bytes(generate.encode(1, number // 2, number % 2))
    store = ["--storage", str(folder / "store")]
    drawn = ["ingest", "synthetic", "--identities", "2", "--images-per-identity", "2"]
    result = {
        "wrong option": ["train", "x", "--optimizer", "nonsense"],
        "missing file": ["ingest", str(folder / "nowhere")],
        "ingest of ten photographs": ["ingest", str(photographs), *store],
        "ingest that is done": [*drawn, *store],
    }
    small = {"ingest.identities": 4, "holdout.ingest.identities": 4, "train.max_nrof_epochs": 1}
    small |= {"train.batch_size": 12, "validate.lfw_nrof_folds": 2, "validate.pairs_per_fold": 3}
    overrides = [word for item in small.items() for word in ("--set", "=".join(map(str, item)))]
    result["pipeline that is done"] = ["run", "--config", "demo", *overrides, *store]
    if model:
        pair = [str(photographs / "P0" / f"{number}.jpg") for number in range(2)]
        result["compare"] = ["compare", *pair, "--model", model, *store]
        result[EMBEDDER] = [EMBEDDER, model, pair[0]]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("model", metavar="MODEL", nargs="?", help="to compare and to embed with")
    parser.add_argument("--before", metavar="DIR", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="with empty folders each time")
    parser.add_argument("--only", metavar="TEXT", default="", help="commands with it in their name")
    options = parser.parse_args()
    checkouts = {"now": HERE.parents[1]}
    if options.before:
        checkouts = {"before": options.before.resolve(), **checkouts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        todo = commands(folder, options.model)
        for turn in range(options.rounds + 1):  # the first one, of warm rounds, fills the caches
            for command, words in todo.items():
                for checkout, path in checkouts.items():
                    warm = command in WARM
                    if options.only not in command or (options.cold and (turn == 0 or warm)):
                        continue
                    own = folder / (f"{turn}-{command}-{checkout}" if options.cold else "warm")
                    if command == "ingest of ten photographs":
                        words[-1] = str(folder / f"store-{turn}-{checkout}")  # not done before
                    environment = dict(os.environ, XDG_CACHE_HOME=str(own / "cache"))
                    environment["PREFECT_HOME"] = str(own / "prefect")
                    (own / "prefect").mkdir(parents=True, exist_ok=True)
                    seconds = measure(path, words, environment)
                    if turn:
                        runs[command, checkout].append(seconds)
        columns = (*PARTS, "wall", "cpu")
        print(f"| | | {' | '.join(columns)} |\n|---|---|{'---:|' * len(columns)}")
        for (command, checkout), measured in runs.items():
            cells = [f"{statistics.median(m[c] for m in measured):.1f}" for c in columns]
            print(f"| {command} | {checkout} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_here(sys.argv[2:])
    else:
        main()
