"""Many runs of a small pipeline, each disturbed in its own way and compared with one that was not.

    python -m qa.faults.campaign [--runs 200] [--seed 1] [--lanes 2] [--home FOLDER]

Every run is a line of `runs.jsonl` in the home folder, so that the same command goes on where it
stopped. At the end, and with `--table` at once, it prints what docs/reliability.md shows. The exit
status is 1 if an image was lost or doubled or anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qa.faults.compare import Verdict, compare, damaged_files, only_victim_lost
from qa.faults.ground import VICTIM, Ground
from qa.faults.kinds import KINDS_OF_FAULTS, Kind, Scene, weather_of
from qa.faults.proxy import Weather
from qa.faults.runner import CONTAINER
from qa.faults.table import table

TRIES = 8
_one_deployed_run = threading.Lock()


@dataclass
class Record:
    """What one run was put through, and how it ended."""

    number: int
    seed: int
    kind: str
    injected: dict[str, int]
    prefect_retries: int
    reruns: int
    seconds: float
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Undisturbed:
    """Roots of runs that nothing came in the way of, and how many storage operations they took.

    They are made once for a home folder, which takes a few minutes.
    """

    def __init__(self, ground: Ground) -> None:
        home = ground.home / "undisturbed"
        self.roots = {name: home / name for name in ("plain", "other", "poison", "list", "both")}
        path = home / "operations.json"
        if not path.exists() or not all(root.is_dir() for root in self.roots.values()):
            shutil.rmtree(home, ignore_errors=True)
            operations = self._make(ground)
            path.write_text(json.dumps(operations))
        self.operations: dict[str, int] = json.loads(path.read_text())
        files = [f for f in self.roots["plain"].rglob("*") if f.is_file()]
        self.bytes = sum(-(-f.stat().st_size // 4096) * 4096 for f in files)

    def _make(self, ground: Ground) -> dict[str, int]:
        operations = {}
        for config in ("plain", "other", "poison", "list"):
            scene = _scene(ground, f"undisturbed-{config}", "local", self.roots[config], 10**9)
            scene.config = config
            operations["local"] = operations["small"] = _command(scene, Scene.moment)
        # Two configurations in one root: each has its own artifacts there, and those are all.
        for config in ("plain", "other"):
            shutil.copytree(self.roots[config], self.roots["both"], dirs_exist_ok=True)
        only_victim_lost(self.roots["plain"], self.roots["poison"], VICTIM)
        scene = _scene(ground, "undisturbed-s3", "s3", ground.home / "none", 10**9)
        operations["s3"] = _command(scene, Scene.moment)
        verdict = compare(scene.root, self.roots["plain"])
        if verdict != Verdict():
            raise RuntimeError(f"S3 and a local folder differ without a fault: {verdict}")
        return operations


def _scene(
    ground: Ground,
    name: str,
    place: str,
    root: Path,
    operations: int,
    weather: Weather | None = None,
) -> Scene:
    weather = weather or Weather()
    if place == "s3":
        uri, root = ground.bucket(name, weather)
    else:
        root.mkdir(parents=True)
        uri = str(root)
    logs = ground.home / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{name}.log"
    log.write_text("")
    draw = random.Random(0)
    return Scene(ground, name, uri, root, "plain", draw, 1.0, operations, weather, log)


def _command(scene: Scene, beside: Callable[[Scene], object]) -> int:
    """Run the command once, which has to end well; returns the operations it took."""
    scene.runner = scene.ground.take_runner()
    scene.runner.begin(scene.words, scene.name, scene.log)
    beside(scene)
    status = scene.runner.wait()
    if status:
        raise RuntimeError(f"an undisturbed run failed:\n{scene.log.read_text()}")
    scene.ground.give_back(scene.runner)
    return scene.done()


def run_one(ground: Ground, undisturbed: Undisturbed, number: int, seed: int) -> Record:
    """Run number `number`: its kind goes by turns, everything else by the seed."""
    kind = kind_of(number)
    draw = random.Random(f"{seed} {number}")
    name = f"run-{number:04d}"
    weather = weather_of(draw, draw.choice((0.02, 0.05, 0.1))) if kind.weather else Weather()
    path = ground.home / "roots" / name
    shutil.rmtree(path, ignore_errors=True)
    if kind.place == "small":
        size = int(undisturbed.bytes * draw.uniform(0.1, 0.95))
        path.mkdir(parents=True)
        _mount(path, size)
    operations = undisturbed.operations[kind.place]
    scene = _scene(ground, name, kind.place, path / "store", operations, weather)
    scene.config, scene.draw, scene.share = kind.config, draw, draw.uniform(*kind.share)
    started = time.monotonic()
    try:
        reruns = _deployed(scene, kind) if kind.deployed else _commands(scene, kind)
        verdict = _verdict(scene, kind, undisturbed)
    except Exception as error:  # whatever it is, it is a run that did not end well
        reruns, verdict = TRIES, Verdict(wrong=[f"{type(error).__name__}: {error}"[:2000]])
    seconds = round(time.monotonic() - started, 1)
    injected = scene.injected + weather.injected
    retries = _prefect_retries(scene)
    if kind.place == "small":
        shutil.rmtree(scene.root, ignore_errors=True)
        subprocess.run(["umount", "--lazy", str(path)], check=False)
    if not (verdict.lost or verdict.doubled or verdict.wrong):
        shutil.rmtree(scene.root, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
    results = (verdict.lost, verdict.doubled, verdict.wrong, verdict.left, scene.notes)
    return Record(number, seed, kind.name, dict(injected), retries, reruns, seconds, *results)


def kind_of(number: int) -> Kind:
    """By turns; a kind that takes long comes only in some rounds."""
    turn = -1
    for round_ in range(number + 1):
        for kind in KINDS_OF_FAULTS:
            if round_ % kind.every == 0:
                turn += 1
                if turn == number:
                    return kind
    raise AssertionError("there is a kind for every number")


def _commands(scene: Scene, kind: Kind) -> int:
    """The command, struck while it runs, and again until it ends well; returns how often again."""
    ground = scene.ground
    for attempt in range(TRIES):
        text = scene.log.stat().st_size
        full_cache = kind.full_cache and not attempt
        scene.runner = ground.take_full_cache() if full_cache else ground.take_runner()
        second = None
        if kind.beside and not attempt:
            second = ground.take_container() if kind.container else ground.take_runner()
        scene.runner.begin(scene.words, scene.name, scene.log)
        if second is not None:
            assert kind.beside is not None
            second.begin(scene.words_of(kind.beside), scene.name, scene.log.with_suffix(".2.log"))
            scene.saw("second run at once")
        if attempt == 0:
            kind.strike(scene)
        statuses = [runner.wait() for runner in (scene.runner, second) if runner is not None]
        if second is not None and kind.container:
            second.close()  # no run after this one wants a container
        if full_cache:
            scene.runner.close()  # nor a full disk
        for runner in (scene.runner, second):
            if runner is not None:
                ground.give_back(runner)
        message = scene.log.read_bytes()[text:].decode(errors="replace")
        if any(statuses):
            said = [line for line in message.splitlines() if line.startswith("facenet:")]
            scene.notes += [f"exit {statuses}: {said[-1][:300] if said else 'nothing said'}"]
            kind.mend(scene, message)
        elif not kind.share or not (damaged := damaged_files(scene.root)):
            return attempt
        else:
            scene.notes.append(f"found by checking at rest: {len(damaged)} files")
            for file in damaged:
                file.unlink(missing_ok=True)
    raise RuntimeError(f"not done after {TRIES} tries: {scene.notes}")


def _deployed(scene: Scene, kind: Kind) -> int:
    """A run of the deployment, under a Prefect worker; returns how often Retry was pressed."""
    import yaml

    site = scene.ground.site
    with _one_deployed_run:
        config = yaml.safe_load(scene.ground.configs[kind.config].read_text())
        scene.worker = site.start_worker("cpu")
        try:
            run = scene.flow_run = site.run(
                "pipeline/pipeline-demo", {"config": config | {"storage": scene.uri}}
            )
            kind.strike(scene)
            if scene.worker.poll() is not None:
                site.forget(scene.worker)
                scene.worker = site.start_worker("cpu")
            for pressed in range(TRIES):
                flow_run = site.wait(run, 400)
                if flow_run["state_type"] == "COMPLETED":
                    scene.notes.append(f"run_count {flow_run['run_count']}")
                    return pressed
                message = (flow_run["state"]["message"] or "")[:300]
                scene.notes.append(f"{flow_run['state_type']}: {message}")
                time.sleep(15)  # a worker of Prefect 3.8 reports a crash twice
                site.retry(run)
            raise RuntimeError(f"not done after {TRIES} retries: {scene.notes}")
        finally:
            site.stop_worker(scene.worker)


def _verdict(scene: Scene, kind: Kind, undisturbed: Undisturbed) -> Verdict:
    two = kind.beside not in (None, kind.config)
    return compare(scene.root, undisturbed.roots["both" if two else kind.config])


def _prefect_retries(scene: Scene) -> int:
    """How many tries of tasks Prefect made after a first one."""
    site = scene.ground.site
    if scene.flow_run is not None:
        stages = site.stages(scene.flow_run)
        runs = [run for stage in stages for run in site.task_runs(stage["id"])]
    else:
        body = {"task_runs": {"tags": {"all_": [scene.name]}}, "limit": 200}
        runs = site.call("POST", "task_runs/filter", body)
    return sum(max(run["run_count"] - 1, 0) for run in runs)


def _mount(folder: Path, size: int) -> None:
    """A small disk. Raises CalledProcessError without the right to mount."""
    subprocess.run(["umount", "--lazy", str(folder)], check=False, stderr=subprocess.DEVNULL)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(words, check=True)


def _may_mount(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _mount(folder, 2**20)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Disturbed runs of a small pipeline.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="runs at the same time")
    parser.add_argument("--home", type=Path, default=Path("fault-runs"))
    parser.add_argument("--only", help="only kinds whose name contains this")
    parser.add_argument("--table", action="store_true", help="print the table of what was run")
    options = parser.parse_args(words)
    lines = options.home / "runs.jsonl"
    if not options.table:
        _run(options, lines)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    print(table(records))
    return int(any(r["lost"] or r["doubled"] or r["wrong"] for r in records))


def _run(options: argparse.Namespace, lines: Path) -> None:
    options.home.mkdir(parents=True, exist_ok=True)
    done = (
        {json.loads(line)["number"] for line in lines.read_text().splitlines()}
        if lines.exists()
        else set()
    )
    numbers = [n for n in range(options.runs) if n not in done]
    numbers = [n for n in numbers if not options.only or options.only in kind_of(n).name]
    if not _may_mount(options.home / "probe"):
        print("no right to mount a small disk (root has it): `disk full` is left out", flush=True)
        numbers = [n for n in numbers if kind_of(n).place != "small"]
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode:
        print("no right to make process namespaces: containers are left out", flush=True)
        numbers = [n for n in numbers if not (kind_of(n).container or kind_of(n).full_cache)]
    ground = Ground(options.home)
    writing, ending = threading.Lock(), threading.Event()
    pool = ThreadPoolExecutor(options.lanes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which ends every process here
    try:
        ground.start()
        ground.warm(options.lanes + 1)
        undisturbed = Undisturbed(ground)

        def one(number: int) -> None:
            try:
                record = run_one(ground, undisturbed, number, options.seed)
            except Exception as error:  # of these programs, not of the run: it is to be repeated
                print(f"{number:4d} {kind_of(number).name}: not judged: {error!r}", flush=True)
                return
            if ending.is_set():  # what this run came to grief of is no fault
                return
            with writing, lines.open("a") as file:
                file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            bad = len(record.lost) + len(record.doubled) + len(record.wrong)
            print(
                f"{number:4d} {record.kind:34s} {record.seconds:6.1f} s  "
                f"{sum(record.injected.values()):3d} injected  {record.prefect_retries} retries  "
                f"{record.reruns} reruns  {'WRONG' if bad else 'right'}",
                flush=True,
            )

        for run in [pool.submit(one, number) for number in numbers]:
            run.result()
    finally:
        ending.set()
        pool.shutdown(wait=False, cancel_futures=True)
        ground.stop()


if __name__ == "__main__":
    sys.exit(main())
