"""Fixtures for all tests: places that are theirs alone, and the development data where it is."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.photographs import files, write_folder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# A busy machine is no failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

pytest_plugins = ["tests.support.stored"]  # its fixtures serve two rooms

# Tests of these files share a site with deployments; the other ones of tests/integration share the
# run `undisturbed`. Each half may run in a process, and has a Prefect server, of its own.
_WITH_DEPLOYMENTS = (
    "test_ingest_commands",
    "test_operations",
    "test_operations_killed",
    "test_secrets",
)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, in one of several processes, what shares fixtures: the tests of a file, and
    each half of those that need a Prefect server."""
    for item in items:
        name = item.path.stem + item.path.parent.name
        if "integration" in item.path.relative_to(item.config.rootpath).parts:
            name = "deployments" if item.path.stem in _WITH_DEPLOYMENTS else "pipelines"
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests out of the user's cache folder, and their memo out of the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_not_ignored() -> None:
    """As it is in a shell's job in the background, and would be in every command started here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _absl_leaves_captured_output_open() -> None:
    """Keras brings absl, whose log handler takes the `sys.stderr` of its import and closes it when
    logging is configured anew, as Prefect does, while another one stands there: pytest's own."""
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A storage root."""
    return str(tmp_path / "store")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with photographs and reference figures that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the development data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a real S3 server over HTTP, and credentials for it in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    names = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    yield endpoint
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The URI of a new bucket."""
    import fsspec

    uri = f"s3://bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(uri)
    return uri


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small data set of pictures without faces, as a folder."""
    return write_folder(tmp_path / "faces", files())
