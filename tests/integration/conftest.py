"""A real Prefect site for the whole session, and the smallest pipeline that has every stage."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from deployments.local_site import Site
from facenet_core.runtime import free_port
from tests.support.tiny import TINY, facenet


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Prefect server with a database of its own, without workers, set in the environment."""
    home = tmp_path_factory.mktemp("prefect")
    site = Site(home, free_port(), str(home / "store"))
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    try:
        site.start_server("--no-ui")
        os.environ["PREFECT_API_URL"] = f"{site.url}/api"
        # Other tests may have imported Prefect, which reads its environment only then.
        with temporary_settings({PREFECT_API_URL: f"{site.url}/api", PREFECT_HOME: home}):
            yield site
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        site.stop()


@pytest.fixture(scope="session")
def prefect_server(server: Site) -> str:
    """URL of the API of the server."""
    return f"{server.url}/api"


@pytest.fixture(scope="session")
def site(server: Site) -> Site:
    """The server with the deployments, whose runs wait for a `worker`."""
    server.deploy("pipeline-demo", "ingest", "align", "embed")
    return server


@pytest.fixture(scope="module")
def worker(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A process worker that takes the runs of the deployments."""
    process = site.start_worker("cpu")
    yield process
    site.stop_worker(process)


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file whose whole pipeline takes seconds."""
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


@pytest.fixture(scope="session")
def undisturbed(
    prefect_server: str, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The storage root of a run of the tiny pipeline that nothing came in the way of."""
    root = tmp_path_factory.mktemp("undisturbed")
    status, output, errors = facenet("run", "--config", tiny_config, "--storage", root)
    assert status == 0, errors
    assert output
    return root
