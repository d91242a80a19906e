"""Where the fault runs happen: a Prefect server, Dask workers, an S3 server behind a proxy, data.

All of it is there once; each run has a storage root of its own.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from deployments import local_s3
from deployments.local_site import Site
from facenet_core.runtime import free_port
from qa.faults.pictures import PictureServer
from qa.faults.proxy import FaultyProxy, Weather
from qa.faults.runner import CONTAINER, FULL_DISK, Runner
from tests.support import poison
from tests.support.photographs import jpeg, write_folder
from tests.support.tiny import TINY

WORKERS = 2
MEMORY_LIMIT = "2GiB"
VICTIM = "Synthetic_00000/Synthetic_00000_0002.jpg"


class Ground:
    """Started by `start`, ended by `stop`; everything lies below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.configs: dict[str, Path] = {}
        self._runners: list[Runner] = []
        self._taken: list[Runner] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._ending = ExitStack()

    def start(self) -> None:
        """Start everything, and make the undisturbed runs."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.site = Site(self.home / "prefect", free_port(), str(self.home / "store"))
        starting = self._ending.enter_context(ThreadPoolExecutor())
        server = starting.submit(self.site.start_server, "--no-ui")
        self._ending.callback(self.site.stop)
        self.buckets = self.home / "buckets"
        port = free_port()
        s3 = local_s3.start(self.buckets, port, self.home / "s3.log", "--no-cleanup")
        self._ending.callback(s3.kill)
        self.proxy = FaultyProxy(("127.0.0.1", port))
        self._ending.callback(self.proxy.stop)
        bugs = poison.install(self.home / "bugs")
        here = str(Path(__file__).parents[2])  # where `qa.faults.small` is
        environment = self.site.environment | {
            **local_s3.environment(self.proxy.endpoint),
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([bugs, here, *filter(None, [os.getenv("PYTHONPATH")])]),
        }
        # Spawned workers take over both; tests that follow are to find them as they were.
        self._ending.enter_context(patch.dict(os.environ, environment))
        self._ending.enter_context(patch.object(sys, "path", [bugs, *sys.path]))
        from facenet_core.config import ClusterConfig
        from tasks.dask import start

        cluster = ClusterConfig(workers=WORKERS, memory_limit=MEMORY_LIMIT)
        self.client: Any = start.start(cluster)
        self._ending.callback(self.client.cluster.close, timeout=20)
        self._ending.callback(self.client.close, timeout=10)
        self.address: str = self.client.scheduler.address
        server.result()
        self.site.deploy("pipeline-demo")
        self._write_configs()

    def stop(self) -> None:
        """End every process that was started here."""
        with self._lock:
            self._stopped = True
            for runner in self._runners + self._taken:
                runner.close()
        self._ending.close()

    # --- Runners ------------------------------------------------------------------------------

    def warm(self, count: int) -> None:
        """See that so many runners are starting or ready."""
        with self._lock:
            self._runners = [runner for runner in self._runners if runner.alive]
            self._runners += [Runner() for _ in range(count - len(self._runners))]

    def take_runner(self) -> Runner:
        """A runner for oneself."""
        with self._lock:
            if self._stopped:
                raise RuntimeError("stopped")
            runner = self._runners.pop(0) if self._runners else Runner()
            self._taken.append(runner)
        runner.wait_until_ready()
        return runner

    def take_container(self) -> Runner:
        """A new runner with process ids of its own."""
        with self._lock:
            runner = Runner(CONTAINER)
            self._taken.append(runner)
        runner.wait_until_ready()
        return runner

    def take_full_cache(self) -> Runner:
        """A new runner whose cache folder is a full disk."""
        cache = self.home / "cache"
        cache.mkdir(exist_ok=True)
        with self._lock:
            runner = Runner([*CONTAINER, "sh", "-c", FULL_DISK, str(cache)])
            self._taken.append(runner)
        runner.wait_until_ready()
        return runner

    def give_back(self, runner: Runner) -> None:
        """Let another run have it, if it still lives; else a new one starts."""
        with self._lock:
            self._taken.remove(runner)
            self._runners.append(runner if runner.alive else Runner())

    # --- Storage ------------------------------------------------------------------------------

    def bucket(self, name: str, weather: Weather) -> tuple[str, Path]:
        """A new, empty bucket: its URI, and the folder that the S3 server keeps it in."""
        folder = self.buckets / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        time.sleep(1.5)  # until the S3 server looks again which buckets there are
        self.proxy.set_weather(name, weather)
        return f"s3://{name}", folder

    # --- Dask workers -------------------------------------------------------------------------

    def a_worker(self, draw: random.Random) -> str:
        """Address of one of the workers, one that works if there is such a one."""
        deadline = time.monotonic() + 60
        while not (processing := self.client.processing()):
            if time.monotonic() > deadline:
                raise TimeoutError("no Dask worker came back")
            time.sleep(0.05)
        return draw.choice(sorted([a for a, work in processing.items() if work] or processing))

    # --- Configurations -----------------------------------------------------------------------

    def _write_configs(self) -> None:
        """`plain`, `other` (crops with another margin), `poison` (one photograph kills), and `list`
        (of addresses)."""
        from facenet_core.synthetic_faces import generate

        drawn = {image_id: data for image_id, _, data in generate.members(0, 6, 6)}
        files = {
            **drawn,
            "Z/grey.jpg": jpeg(1, 160),  # without a face
            "Z/text.jpg": b"not an image",
            "Z/cut.jpg": next(iter(drawn.values()))[:3000],
        }
        write_folder(self.home / "photographs", files)
        assert VICTIM in files, sorted(files)
        write_folder(self.home / "poisoned", files | {VICTIM: files[VICTIM] + poison.CRASH})
        # Addresses are names of images: they have to stay what they were in the undisturbed run.
        port = self.home / "pictures.port"
        if not port.exists():
            port.write_text(str(free_port()))
        self.pictures = PictureServer(self.home / "photographs", int(port.read_text()))
        self._ending.callback(self.pictures.stop)
        lines = [f"{self.pictures.url}/{file},{file.split('/')[0]}\n" for file in sorted(files)]
        (self.home / "list.csv").write_text("".join(lines))
        for name, source, margin in (
            ("plain", "photographs", 16),
            ("other", "photographs", 18),
            ("poison", "poisoned", 16),
            ("list", "list.csv", 16),
        ):
            config = copy.deepcopy(TINY)
            config["ingest"] = {"source": str(self.home / source), "name": "tiny", "shards": 3}
            config["holdout"]["ingest"]["shards"] = 2
            config["train"]["model_def"] = "qa.faults.small:network"
            config["train"]["read_crops"] = "cache"  # however full the disk of the cache is
            config["validate"]["identification"] = True  # for which the crops are embedded
            config["train"]["max_nrof_epochs"] = 2  # of three steps, a checkpoint every two
            config["align"]["margin"] = margin
            config["cluster"] = {"dask_address": self.address}
            self.configs[name] = self.home / f"{name}.yaml"
            self.configs[name].write_text(yaml.safe_dump(config))
