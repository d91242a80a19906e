"""A whole Prefect site on this machine: server, worker, work pools, deployments.

    python deployments/local_site.py [--port 4200]

starts all of it and runs until it is interrupted. `Site` is the same for programs: what an operator
does in a terminal and in the UI, as methods. docs/operations.md does it by hand, step by step.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

REPOSITORY = Path(__file__).resolve().parents[1]
PREFECT_FILE = "deployments/prefect.yaml"
POOLS = ("cpu", "gpu")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Site:
    """A server with a database below `home`, and workers; everything ends with `stop`."""

    def __init__(self, home: Path, port: int, storage: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.home = home
        self._own = {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONSAFEPATH": "1",  # no code out of the folders that processes work in
            "FACENET_STORAGE": storage,
        }
        self._port = port
        self.storage = storage
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """That of every process here: the program's own, with what makes it this site."""
        return {**os.environ, **self._own}

    def start_server(self, *options: str) -> None:
        """Start the server, wait until it answers, make the work pools."""
        server = self._start("server", "server", "start", "--port", str(self._port), *options)
        deadline = time.monotonic() + 120
        while not self._healthy():
            if server.poll() is not None or time.monotonic() > deadline:
                log = (self.home / "server.log").read_text()
                raise RuntimeError(f"the Prefect server did not start:\n{log}")
            time.sleep(0.2)
        there = {pool["name"] for pool in self.call("POST", "work_pools/filter", {})}
        for pool in POOLS:
            if pool not in there:  # as they are where the server was started before
                self.call("POST", "work_pools/", {"name": pool, "type": "process"})

    def start_worker(self, pool: str) -> subprocess.Popen[bytes]:
        """Start a process worker.

        Without `--limit`: with it, a worker of Prefect 3.8 ends when a run is retried while the
        process of its last try is still ending. The limit of the work pool does the same safely.
        """
        return self._start(f"worker-{pool}", "worker", "start", "--pool", pool)

    def stop_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """End a worker, if it is still there, whose runs have ended.

        One of Prefect 3.8 that has had runs may wait for ever, so it is not waited for long.
        """
        worker.terminate()
        try:
            worker.wait(3)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        self._processes.remove(worker)

    def forget(self, worker: subprocess.Popen[bytes]) -> None:
        """A worker that is dead already is not to be stopped."""
        self._processes.remove(worker)

    def deploy(self, *names: str) -> None:
        """Deploy what the repository's file holds: all, or the deployments named."""
        selection = [word for name in names for word in ("--name", name)] or ["--all"]
        self._prefect("--no-prompt", "deploy", *selection, "--prefect-file", PREFECT_FILE)

    def register_blocks(self) -> None:
        """Let the UI show the form of storage credentials."""
        self._prefect("block", "register", "--module", "tasks.prefect.credentials")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the server's API; returns the decoded answer.

        A server on SQLite answers 503 while its database is locked, and has done nothing then.
        """
        request = Request(
            f"{self.url}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with urlopen(request, timeout=60) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def run(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of `flow/deployment`; returns its id."""
        described = self.call("GET", f"deployments/name/{deployment}")
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return self.call("POST", f"deployments/{described['id']}/create_flow_run", body)["id"]

    def retry(self, flow_run: str) -> None:
        """What the Retry button of the UI sends."""
        body = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        self.call("POST", f"flow_runs/{flow_run}/set_state", body)

    def wait(self, flow_run: str, timeout: float = 240) -> dict[str, Any]:
        """The run, once it ended."""
        deadline = time.monotonic() + timeout
        while (run := self.call("GET", f"flow_runs/{flow_run}"))["state_type"] not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{run['name']} is still {run['state_name']}")
            time.sleep(0.3)
        return run

    def task_runs(self, flow_run: str) -> list[dict[str, Any]]:
        """All task runs of a flow run, the earliest first."""
        body = {"flow_runs": {"id": {"any_": [flow_run]}}, "limit": 200}
        runs = self.call("POST", "task_runs/filter", body)
        return sorted(runs, key=lambda run: run["start_time"] or "")

    def stages(self, flow_run: str) -> list[dict[str, Any]]:
        """The runs of stages that a run of the pipeline started, the earliest first."""
        body = {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run]}}, "limit": 200}
        runs = self.call("POST", "flow_runs/filter", body)
        return sorted(runs, key=lambda run: run["start_time"] or "")

    def log(self, flow_run: str) -> list[str]:
        """The messages that a run and its tasks logged."""
        body = {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.call("POST", "logs/filter", body)]

    def stop(self) -> None:
        """End workers and server, in this order."""
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                _prefect(*words), stdout=log, stderr=log, env=self.environment, cwd=self.home
            )
        self._processes.append(process)
        return process

    def _prefect(self, *words: str) -> None:
        done = subprocess.run(
            _prefect(*words),
            cwd=REPOSITORY,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"`prefect {' '.join(words)}` failed:\n{done.stdout}")

    def _healthy(self) -> bool:
        try:
            return self.call("GET", "health") is True
        except (HTTPError, URLError, OSError):
            return False


def end_as_by_ctrl_c() -> None:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, too: what was started here must not stay."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def main() -> int:
    parser = argparse.ArgumentParser(description="A Prefect site on this machine.")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--home", type=Path, default=REPOSITORY / "prefect-site")
    options = parser.parse_args()
    storage = os.environ.get("FACENET_STORAGE") or str(REPOSITORY / "facenet-store")
    site = Site(options.home, options.port, storage)
    end_as_by_ctrl_c()
    try:
        site.start_server()
        for pool in POOLS:
            site.start_worker(pool)
        site.call("POST", "concurrency_limits/", {"tag": "training", "concurrency_limit": 1})
        site.register_blocks()
        site.deploy()
        print(f"{site.url}  artifacts in {storage}; Ctrl-C ends it", file=sys.stderr)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 130
    finally:
        site.stop()


if __name__ == "__main__":
    sys.exit(main())
