"""Many inputs for all targets, in processes that may die: the finds, and what became of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .target import Target

_SHOWN = 5  # finds of a job that are told of while it goes on
_JOB_SECONDS = 1200  # a job that takes longer is killed whole
_MEMORY = next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)  # faster
_REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = ("inputs", "accepted", "refused", "crash", "hang", "outside")


@dataclass(frozen=True)
class Job:
    """A stretch of a target's inputs, for one process."""

    target: Target
    first: int
    stop: int


@dataclass(frozen=True)
class Find:
    """An input that was neither accepted nor refused."""

    target: str
    number: int
    kind: str
    detail: str


def share(targets: Sequence[Target], inputs: int) -> dict[str, int]:
    """How many of all inputs each target gets, by its weight; at least one."""
    whole = sum(target.weight for target in targets)
    counts = {t.name: max(1, int(inputs * t.weight / whole)) for t in targets}
    largest = max(targets, key=lambda target: target.weight).name
    counts[largest] = max(1, counts[largest] + inputs - sum(counts.values()))
    return counts


def jobs(targets: Sequence[Target], inputs: int, size: int) -> list[Job]:
    """The stretches of all targets; long targets first, so that the processes end together."""
    counts = share(targets, inputs)
    return [
        Job(target, first, min(first + size, counts[target.name]))
        for target in targets
        for first in range(0, counts[target.name], size)
    ]


def run(
    work: Sequence[Job], start: int, processes: int
) -> Iterator[tuple[Job, Counter[str], list[Find]]]:
    """Carry out jobs; yields each with its counts and finds."""
    with ThreadPoolExecutor(processes) as pool:
        result = pool.map(lambda job: run_job(job, start), work)
        for job, (counts, finds) in zip(work, result, strict=True):
            yield job, counts, finds


def run_job(job: Job, start: int) -> tuple[Counter[str], list[Find]]:
    """Read the inputs of a job; after a death, go on behind the input that was deadly."""
    counts: Counter[str] = Counter()
    finds: list[Find] = []
    first = job.first
    while first < job.stop:
        with tempfile.TemporaryDirectory(prefix="facenet-fuzz-", dir=_MEMORY) as folder:
            home = Path(folder).resolve()
            before = _tree(home)
            status, output, errors = _child(job, start, first, home)
            lines = [json.loads(line) for line in output.splitlines() if line[:1] in "[{"]
            text = [Find(job.target.name, *line) for line in lines if isinstance(line, list)]
            finds += text
            strangers = sorted(_tree(home) - before)
            if strangers:
                finds.append(Find(job.target.name, first, "outside", f"left {strangers[:3]}"))
                counts["outside"] += 1
            if status == 0:
                counts.update(lines[-1])
                return counts, finds
            touched = home / "touched"
            number = int(touched.read_text() or first) if touched.exists() else None
            if number is None:
                raise RuntimeError(
                    f"{job.target.name}: its process did not start:\n{errors[-2000:]}"
                )
            kind, detail = _fate(status, errors)
            finds.append(Find(job.target.name, number, kind, detail))
            counts[kind] += 1
            # What the process had counted before went with it, but for its finds.
            counts.update(find.kind for find in text)
            counts["accepted or refused"] += number - first - len(text)
            first = number + 1
    return counts, finds


def _child(job: Job, start: int, first: int, home: Path) -> tuple[int, str, str]:
    for name in ("work", "temporary", "home"):
        (home / name).mkdir()
    environment = {
        **os.environ,
        "HOME": str(home / "home"),
        "XDG_CACHE_HOME": str(home / "work" / "cache"),
        "TMPDIR": str(home / "temporary"),
        "PYTHONPATH": str(_REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(home / "temporary"),
        "KERAS_HOME": str(home / "temporary"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "temporary"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OPENCV_LOG_LEVEL": "SILENT",
    }
    arguments = [job.target.name, start, first, job.stop, home]
    process = subprocess.Popen(
        [sys.executable, "-m", "qa.fuzz.worker", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        cwd=home / "home",
    )
    try:
        output, errors = process.communicate(timeout=_JOB_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    return process.returncode, output, errors


def _fate(status: int, errors: str) -> tuple[str, str]:
    if "Timeout (" in errors and status == 1:  # faulthandler's word
        return "hang", "where no Python code can run"
    if status < 0:
        return "crash", f"killed by {signal.Signals(-status).name}"
    return "crash", f"exit status {status}: {errors.strip().splitlines()[-1:]}"


def _tree(home: Path) -> set[str]:
    """What lies in the home of a job beside the places where its process may write."""
    own = {"work", "temporary", "touched"}
    return {
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.relative_to(home).parts[0] not in own and path != home / "home"
    }


def table(results: dict[str, Counter[str]], seconds: float) -> str:
    """Markdown: a line for each target, and their sum."""
    lines = [f"| target | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    whole: Counter[str] = Counter()
    for name, counts in results.items():
        counts["inputs"] = sum(counts.values())
        whole.update(counts)
        lines.append(f"| {name} | {' | '.join(f'{counts[column]:,}' for column in COLUMNS)} |")
    lines.append(f"| **all** | {' | '.join(f'{whole[column]:,}' for column in COLUMNS)} |")
    return "\n".join(lines) + f"\n\n{whole['inputs']:,} inputs in {seconds / 60:.0f} minutes"


def campaign(
    targets: Sequence[Target], inputs: int, start: int, processes: int, size: int = 5000
) -> tuple[dict[str, Counter[str]], list[Find], float]:
    """Counts by target, finds, and seconds. Told of on stderr as it goes on."""
    began = time.monotonic()
    results: dict[str, Counter[str]] = defaultdict(Counter)
    finds: list[Find] = []
    work = jobs(targets, inputs, size)
    done, total = 0, sum(job.stop - job.first for job in work)
    for job, counts, new_finds in run(work, start, processes):
        results[job.target.name].update(counts)
        finds += new_finds
        done += job.stop - job.first
        rate = done / (time.monotonic() - began)
        counted = f", {len(new_finds)} finds" if new_finds else ""
        print(
            f"{done:>9,} of {total:,}, {rate:,.0f}/s  {job.target.name}{counted}",
            file=sys.stderr,
        )
        for find in new_finds[:_SHOWN]:
            print(f"  {find.kind} {find.number}: {find.detail}", file=sys.stderr)
    return {t.name: results[t.name] for t in targets}, finds, time.monotonic() - began
