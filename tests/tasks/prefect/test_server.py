"""The temporary Prefect server: whose database it has, what it must not touch, how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import prefect
import pytest

from facenet_core import runtime
from facenet_core.errors import ConfigError, FacenetError
from tasks.prefect import server

DYING = (
    "import sys; print('unimportant\\n' * 90, flush=True); sys.exit('Can\\'t locate revision abc')"
)


def started(program: str, tmp_path: Path) -> server._Server:
    """A server that is a program of ours."""
    log = tempfile.TemporaryFile(dir=tmp_path)  # noqa: SIM115
    process = subprocess.Popen([sys.executable, "-c", program], stdout=log, stderr=log)
    guard = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    return server._Server(runtime.free_port(), process, guard, log, tmp_path / "prefect.db")


def test_a_server_that_dies_is_told_at_once_with_its_last_lines_and_its_database(
    tmp_path: Path,
) -> None:
    dying = started(DYING, tmp_path)
    with pytest.raises(FacenetError, match="ended with exit status 1") as refused:
        dying.wait()
    said = str(refused.value)
    assert said.endswith("Can't locate revision abc")
    assert str(tmp_path / "prefect.db") in said
    assert said.count("unimportant") < server._LAST_LINES
    dying.stop()
    assert dying.guard.poll() is not None


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 0.0)
    silent = started("import time; print('still here', flush=True); time.sleep(60)", tmp_path)
    with pytest.raises(FacenetError, match="does not answer after 0 s"):
        silent.wait()
    silent.stop()
    assert silent.process.poll() is not None


def test_each_version_of_prefect_has_a_database_of_its_own_apart_from_the_users(
    tmp_path: Path,
) -> None:
    database = server._database(tmp_path)
    assert database == tmp_path / "facenet" / f"prefect-{prefect.__version__}.db"
    theirs = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me:pw@db/prefect",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me:pw@db/prefect",
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_ENCRYPTION_KEY": "of blocks",
    }
    environment = server._environment(database, theirs)
    assert {k: v for k, v in environment.items() if "DATABASE" in k} == {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}"
    }
    assert environment["PREFECT_SERVER_ENCRYPTION_KEY"] == "of blocks"
    assert environment["PYTHONSAFEPATH"] == "1"


def test_a_home_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file is in the way")
    with pytest.raises(ConfigError, match=r"home/facenet: cannot be written .* set PREFECT_HOME"):
        server._database(tmp_path / "home")


@pytest.mark.parametrize("configured", ["profile", "environment"])
def test_none_is_left_running_where_a_server_is_configured(tmp_path: Path, configured: str) -> None:
    url = "http://127.0.0.1:9/api"
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""}
    del environment["PREFECT_API_URL"]
    if configured == "profile":
        profiles = f'active = "site"\n[profiles.site]\nPREFECT_API_URL = "{url}"\n'
        (tmp_path / "profiles.toml").write_text(profiles)
    else:
        environment["PREFECT_API_URL"] = url
    script = (
        "import psutil\n"
        "from tasks.prefect import server\n"
        "with server.starting(): pass\n"
        "from prefect.settings import get_current_settings\n"
        "settings = get_current_settings()\n"
        "print(settings.api.url, settings.flows.heartbeat_frequency)\n"
        "print(psutil.Process().children())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.returncode) == (f"{url} 180\n[]\n", 0), done.stderr


def test_runs_on_it_send_no_heartbeats_whose_thread_they_would_wait_for() -> None:
    script = (
        "import os\n"
        "from tasks.prefect import server\n"
        "os.environ['PREFECT_API_URL'] = 'http://127.0.0.1:9/api'\n"
        "server._use_settings()\n"
        "from prefect.settings import get_current_settings\n"
        "settings = get_current_settings()\n"
        "print(settings.api.url, settings.flows.heartbeat_frequency)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "http://127.0.0.1:9/api None\n", done.stderr
