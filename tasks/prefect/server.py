"""This process's own temporary Prefect server, for runs without a configured one.

Prefect would start one itself, with the first client. It would use the database of the user's own
server, which two servers of different versions would migrate against each other; it would import
from the working folder; and if it dies, its last messages are lost. Hence this one.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from facenet_core import runtime
from facenet_core.errors import ConfigError, FacenetError

# Seconds until it answers: on a busy machine with a slow disk a minute is nothing.
_PATIENCE = 600.0
_LAST_LINES = 15  # of its log, in the message
# Waits for the end of its input, which comes when the parent is gone however it died, and then
# ends the server, which `_Server.stop` only does when Python exits in good order.
_GUARD = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"

# The server: imports what reads no settings of Prefect's while its parent reads them, and goes on
# when they come. An input that ends means that there is no need of it.
_PROGRAM = """
import contextlib, gc, importlib, json, os, socket, sys
gc.disable()
for name in ("fastapi", "uvicorn", "docket", "alembic.command", "sqlalchemy.ext.asyncio"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
line = sys.stdin.readline()
if not line:
    sys.exit()
start = json.loads(line)
os.environ.clear()
os.environ.update(start["environment"])
sys.path.insert(0, start["packages"])
import uvicorn
from prefect.server.api.server import create_app
gc.enable()
gc.freeze()
server = uvicorn.Server(
    uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")
)
server.run(sockets=[socket.socket(fileno=start["socket"])])
sys.exit(not server.started)
"""


@dataclass
class _Server:
    port: int
    process: subprocess.Popen[bytes]
    guard: subprocess.Popen[bytes]
    log: IO[bytes]  # open as long as the server runs
    database: Path
    answers: bool = False

    def wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.answers:
            if (status := self.process.poll()) is not None:
                raise self._failure(f"ended with {runtime.describe_exit(status)}")
            if time.monotonic() > deadline:
                raise self._failure(f"does not answer after {_PATIENCE:.0f} s")
            self.answers = self._is_healthy()
            time.sleep(0 if self.answers else 0.1)

    def _is_healthy(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)  # no proxy is asked
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _failure(self, what: str) -> FacenetError:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").rstrip().splitlines()[-_LAST_LINES:]
        return FacenetError(
            f"Prefect's temporary server, whose database is {self.database}, {what}. Its last "
            "lines:\n" + "\n".join(lines)
        )

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.guard.communicate()  # closes its input, which ends it


_server: _Server | None = None


def start() -> None:
    """Start the temporary server, once, where no `PREFECT_API_URL` is configured.

    Returns at once: there is time to import what the run needs until `wait`. The server ends with
    this process, even when that is killed, and not before it: Ctrl-C in a terminal goes to all
    processes of the command, and the run has to tell the server how it ended.

    Raises:
        ConfigError: Prefect's folder cannot be written.
    """
    global _server
    if _server or os.environ.get("PREFECT_API_URL"):
        return
    log = tempfile.TemporaryFile()  # noqa: SIM115
    # Bound here: a port that is only looked up is somebody else's when the server wants it.
    with socket.socket() as address:
        address.bind(("127.0.0.1", 0))
        port, number = int(address.getsockname()[1]), address.fileno()
        # First of all: it imports for seconds, as this process does now.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[number],
        )
    try:
        database = _configure(process, number)
    except BaseException:
        _discard(process)
        raise
    if database is None:
        _discard(process)
        return
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(process.pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _server = _Server(port, process, guard, log, database)
    atexit.register(_server.stop)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    _use_settings()


def _use_settings() -> None:
    """Let Prefect in this process read the variables set for it now.

    Without heartbeats: they tell a server of runs whose process is gone, and this one goes with its
    process. The end of each run waits for the thread that sends them, up to a second.
    """
    from prefect import context
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

    context.refresh_global_settings_context()
    read = context.GLOBAL_SETTINGS_CONTEXT
    settings = read.settings.copy_with_update({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    context.GLOBAL_SETTINGS_CONTEXT = context.SettingsContext(
        profile=read.profile, settings=settings
    )


def _configure(process: subprocess.Popen[bytes], address: int) -> Path | None:
    """Hand the server its settings and the number of its socket; returns its database.

    None where no server is needed.
    """
    import prefect.context
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is not None or not settings.server.ephemeral.enabled:
        return None
    database = _database(settings.home)
    variables = settings.to_environment_variables(exclude_unset=True)
    start = {
        "environment": _environment(database, variables),
        "packages": str(Path(prefect.__file__).parents[1]),
        "socket": address,
    }
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # one that ended is reported by `wait`
        process.stdin.write(json.dumps(start).encode() + b"\n")
    return database


def _discard(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def wait() -> None:
    """Wait until the server that `start` started, if it did, answers.

    Raises:
        FacenetError: it ended, or does not answer; with the last lines of its log.
    """
    if _server is not None:
        _server.wait()


@contextmanager
def starting() -> Iterator[None]:
    """Start a server if need be; it comes up while the block imports, and answers after it.

    Raises:
        FacenetError: as `wait` does.
    """
    with runtime.without_collecting():
        start()
        yield
    wait()


def _database(home: Path) -> Path:
    """SQLite file of this version of Prefect alone: another version would not read it again."""
    import prefect

    folder = home.absolute() / "facenet"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written ({error.strerror}), and Prefect's temporary server keeps "
            "its database there; set PREFECT_HOME to a folder that can be written, or "
            "PREFECT_API_URL to a Prefect server"
        ) from None
    return folder / f"prefect-{prefect.__version__}.db"


def _environment(database: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The user's settings; but the database of a server of theirs is not for this one."""
    theirs = ("PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_")
    variables = {**os.environ, **settings}
    return {
        **{name: v for name, v in variables.items() if not name.startswith(theirs)},
        "PYTHONSAFEPATH": "1",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",  # into the log, whatever the user sees
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
