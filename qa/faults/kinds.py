"""The kinds of faults: how each is brought about in the middle of a run, and how it is taken away.

A kind strikes while the first command runs, in a thread beside it. `Scene.moment` is when: some
share of the storage operations that an undisturbed run takes, so that a slow machine changes
nothing.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployments.local_site import ENDED
from qa.faults.ground import Ground
from qa.faults.proxy import KINDS, Weather
from qa.faults.runner import Runner


@dataclass
class Scene:
    """One run and what is done to it.

    Attributes:
        uri: its storage root.
        root: the same as a folder of this machine.
        draw: where everything random comes from.
        share: when the fault strikes, as a share of the run.
        operations: how many storage operations an undisturbed run takes.
        injected: what was done, by kind.
        notes: what the system said or did that is worth telling.
        damaged: the file that was cut or whose bits were flipped.
    """

    ground: Ground
    name: str
    uri: str
    root: Path
    config: str
    draw: random.Random
    share: float
    operations: int
    weather: Weather
    log: Path
    injected: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    runner: Runner | None = None
    worker: subprocess.Popen[bytes] | None = None
    flow_run: str | None = None
    damaged: Path | None = None
    _seen: set[str] = field(default_factory=set)

    @property
    def words(self) -> list[object]:
        return self.words_of(self.config)

    def words_of(self, config: str) -> list[object]:
        return ["run", "--config", self.ground.configs[config], "--storage", self.uri]

    def done(self) -> int:
        """How many storage operations the run has made: requests, or files seen to appear."""
        if "://" in self.uri:
            return self.weather.requests
        self._seen.update(str(file) for file in self.root.rglob("*"))
        return len(self._seen)

    def moment(self, share: float | None = None) -> bool:
        """Wait for the moment to strike; False when the run ended before it came."""
        wanted = (self.share if share is None else share) * self.operations
        while self.done() < wanted:
            if self.ended():
                return False
            time.sleep(0.05)
        return True

    def embedding(self) -> bool:
        """Wait until the model is trained and the crops are embedded; False if the run ended."""
        while not any(self.root.glob("models/*/*/manifest.json")):
            if self.ended():
                return False
            time.sleep(0.05)
        time.sleep(self.draw.uniform(0, 8))  # workers take some seconds to load the model
        return not self.ended()

    def ended(self) -> bool:
        """Whether the command has come to its end before the moment did."""
        if self.flow_run is not None:
            time.sleep(0.2)
            flow_run = self.ground.site.call("GET", f"flow_runs/{self.flow_run}")
            return flow_run["state_type"] in ENDED
        return self.runner is not None and not self.runner.running

    def saw(self, what: str) -> None:
        self.injected[what] += 1


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        place: `s3`, `local` or `small` (a small disk).
        share: between which shares of the run it strikes.
        prepare: before the first command.
        strike: while it runs.
        mend: after a command failed, what an operator would do before the next.
        weather: whether the S3 server is disturbed, too.
        config: of `Ground.configs`.
        beside: the configuration of a second run that starts at the same time on the same root.
        full_cache: the cache folder of the first command is a full disk.
        container: that second run has process ids of its own, and the same host name.
        deployed: the run is one of a deployment, which a Prefect worker takes.
        every: only in every so many rounds: it takes long.
    """

    name: str
    place: str
    strike: Callable[[Scene], None]
    mend: Callable[[Scene, str], None] = lambda scene, message: None
    share: tuple[float, float] = (0.02, 0.98)
    weather: bool = False
    config: str = "plain"
    beside: str | None = None
    full_cache: bool = False
    container: bool = False
    deployed: bool = False
    every: int = 1


def nothing(scene: Scene) -> None:
    pass


# --- Processes --------------------------------------------------------------------------------


def kill_flow(scene: Scene) -> None:
    if scene.moment():
        assert scene.runner is not None
        os.kill(scene.runner.process.pid, signal.SIGKILL)
        scene.saw("flow process killed")


def kill_embedding_flow(scene: Scene) -> None:
    if scene.embedding():
        assert scene.runner is not None
        os.kill(scene.runner.process.pid, signal.SIGKILL)
        scene.saw("flow process killed while embedding")


def kill_dask_worker(scene: Scene) -> None:
    if scene.moment():
        _kill_a_worker(scene, "Dask worker killed")


def kill_embedding_worker(scene: Scene) -> None:
    if scene.embedding():
        _kill_a_worker(scene, "Dask worker killed while embedding")


def _kill_a_worker(scene: Scene, what: str) -> None:
    address = scene.ground.a_worker(scene.draw)
    try:
        process = scene.ground.client.run(os.getpid, workers=[address])[address]
        os.kill(process, signal.SIGKILL)
    except (OSError, KeyError, ProcessLookupError):  # it died of the other run beside this one
        return
    scene.saw(what)


def fill_memory(scene: Scene) -> None:
    """Let a Dask worker hold more than its limit, until its nanny kills it."""
    if scene.moment():
        address = scene.ground.a_worker(scene.draw)
        try:
            scene.ground.client.run(_hold, 3 * 2**30, workers=[address])
        except Exception as error:  # the worker is gone, which comes in many classes
            scene.notes.append(type(error).__name__)
        scene.saw("worker out of memory")


def _hold(size: int) -> None:
    import time

    stock = []
    for _ in range(size // 2**26):
        stock.append(b"\1" * 2**26)
        time.sleep(0.01)
    time.sleep(5)


# --- Storage ----------------------------------------------------------------------------------


def deny(scene: Scene) -> None:
    """No right to write from one moment until somebody gives it back."""
    if scene.moment():
        scene.weather.denied = True
        scene.saw("permission denied")


def allow(scene: Scene, message: str) -> None:
    scene.weather.denied = False


def fill_disk(scene: Scene) -> None:
    """The disk is smaller than what the run makes."""
    scene.saw("disk full")


def fill_cache(scene: Scene) -> None:
    """The disk of the cache folder is full; an operator makes room before the next command."""
    scene.saw("cache folder full")


def larger_disk(scene: Scene, message: str) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(scene.root.parent)], check=True)


def damage(scene: Scene) -> None:
    """Flip bits of a file that was finished, or cut it."""
    if not scene.moment():
        return
    file = _a_file(scene)
    if file is None:
        return
    content = bytearray(file.read_bytes())
    manner = scene.draw.choice(("flipped", "cut"))
    if manner == "cut":
        content = content[: scene.draw.randrange(len(content))]
    else:
        for _ in range(scene.draw.choice((1, 8))):
            content[scene.draw.randrange(len(content))] ^= 1 << scene.draw.randrange(8)
    temporary = file.with_name("damage.tmp")
    temporary.write_bytes(content)
    temporary.replace(file)
    scene.damaged = file
    scene.notes.append(f"{manner} {'/'.join(file.relative_to(scene.root).parts[:2])}/…/{file.name}")
    scene.saw(f"file {manner}")


def delete(scene: Scene) -> None:
    """Remove parts that Prefect remembers as done."""
    if scene.moment():
        for _ in range(scene.draw.choice((1, 3))):
            if (file := _a_file(scene)) is not None:
                file.unlink()
                scene.notes.append("/".join(file.relative_to(scene.root).parts[:2]))
                scene.saw("part deleted")


def remove_named(scene: Scene, message: str) -> None:
    """Do what the message asks: remove the file that it calls damaged."""
    named = re.findall(r"(?:s3:/)?(/[^\s:,]+\.(?:parquet|keras|json|npz))", message)
    for name in set(named):
        file = scene.ground.buckets / name[1:] if "://" in scene.uri else Path(name)
        if file.is_file() and file == scene.damaged:
            file.unlink()
            scene.notes.append("the message named the damaged file")


def _a_file(scene: Scene) -> Path | None:
    """One of the finished parts and checkpoints that there are now."""
    names = (
        "raw/*/*/images/part-*",
        "crops/*/*/*/part-*",
        "embeddings/*/*/*/part-*",
        "models/**/step-*",
        "models/*/*/*.keras",
    )
    files = [f for name in names for f in sorted(scene.root.glob(name)) if f.suffix != ".tmp"]
    files = [f for f in files if f.stat().st_size]
    return scene.draw.choice(files) if files else None


# --- The web ----------------------------------------------------------------------------------


def busy_web_server(scene: Scene) -> None:
    """Answer 503 for some seconds, from the first photograph that is asked for."""
    scene.ground.pictures.be_busy(scene.draw.uniform(1, 8))
    scene.saw("web server busy")


# --- Under a Prefect worker -------------------------------------------------------------------


def kill_prefect_worker(scene: Scene) -> None:
    assert scene.worker is not None
    if scene.moment():
        scene.worker.kill()
        scene.worker.wait()
        scene.saw("Prefect worker killed")


def kill_flow_of_worker(scene: Scene) -> None:
    assert scene.worker is not None
    if scene.moment():
        for child in psutil.Process(scene.worker.pid).children():
            if child.environ().get("PREFECT__FLOW_RUN_ID") == scene.flow_run:
                child.kill()
                scene.saw("flow process of a Prefect worker killed")


def weather_of(draw: random.Random, severity: float) -> Weather:
    """Each kind of disturbance at a rate of its own, `severity` in all."""
    shares = [draw.random() for _ in KINDS]
    rates = {k: severity * share / sum(shares) for k, share in zip(KINDS, shares, strict=True)}
    return Weather(draw.randrange(2**32), rates)


KINDS_OF_FAULTS = (
    Kind("disturbed S3", "s3", nothing, weather=True),
    Kind("flow process killed", "s3", kill_flow),
    Kind("flow process killed, disturbed S3", "s3", kill_flow, weather=True),
    Kind("flow process killed, local", "local", kill_flow),
    Kind("Dask worker killed", "s3", kill_dask_worker, share=(0.02, 0.6)),
    Kind("Dask worker killed, local", "local", kill_dask_worker, share=(0.02, 0.6)),
    Kind("Dask worker killed, disturbed S3", "s3", kill_dask_worker, share=(0, 0.6), weather=True),
    Kind("embedding: Dask worker killed", "s3", kill_embedding_worker),
    Kind("embedding: Dask worker killed, local", "local", kill_embedding_worker),
    Kind("embedding: flow process killed", "s3", kill_embedding_flow, weather=True),
    Kind("worker out of memory", "s3", fill_memory, share=(0.02, 0.6)),
    Kind("disk full", "small", fill_disk, larger_disk),
    Kind("cache folder full", "local", fill_cache, full_cache=True, every=2),
    Kind("permission denied", "s3", deny, allow),
    Kind("corrupt file", "local", damage, remove_named, share=(0.15, 0.98)),
    Kind("corrupt file on S3", "s3", damage, remove_named, share=(0.15, 0.98)),
    Kind("parts deleted", "local", delete, share=(0.15, 0.98)),
    Kind("parts deleted on S3", "s3", delete, share=(0.15, 0.98)),
    Kind("poison image", "s3", lambda scene: scene.saw("poison image"), config="poison", every=2),
    Kind("two runs at once", "s3", nothing, weather=True, beside="plain"),
    Kind("two configurations at once", "local", nothing, beside="other"),
    Kind("two containers at once", "local", nothing, beside="plain", container=True, every=2),
    Kind("busy web server", "local", busy_web_server, config="list", every=2),
    Kind("Prefect worker killed", "local", kill_prefect_worker, deployed=True, every=3),
    Kind("flow of a Prefect worker killed", "s3", kill_flow_of_worker, deployed=True, every=3),
)
