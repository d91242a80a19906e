"""Keys of an object store are used, and then are nowhere to be found."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import fsspec
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

from deployments import local_s3
from deployments.local_site import Site
from facenet_core import storage
from facenet_core.config import ClusterConfig
from facenet_core.errors import AccessError, ConfigError, FacenetError
from facenet_core.runtime import free_port
from flows.cli.main import main
from tasks.dask import start
from tasks.prefect import credentials
from tests.support.photographs import files, write_folder
from tests.support.tiny import facenet

SECRET = "unmistakable-secret-0123456789"
USER = f"the-key:half/{SECRET}"  # nearly half of all secret keys have a slash in them


def everything_in(uri: str) -> bytes:
    """All objects of a bucket, one after the other."""
    fs, path = fsspec.core.url_to_fs(uri)
    return b"".join(fs.cat_file(file) for file in fs.find(path))


def everything_recorded(home: Path) -> str:
    """All tables of the Prefect server's database, as text: its pages may be in a journal."""
    with sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True) as database:
        return "\n".join(database.iterdump())


def test_the_secret_of_a_bucket_is_neither_stored_nor_logged_nor_recorded(
    bucket: str, server: Site, tmp_path: Path
) -> None:
    photographs = write_folder(tmp_path / "faces", files())
    words = ["ingest", photographs, "--name", "faces", "--storage", bucket, "--verbose"]
    keys = {"AWS_ACCESS_KEY_ID": "the-key", "AWS_SECRET_ACCESS_KEY": SECRET}
    status, output, errors = facenet(*words, **keys)
    assert status == 0, errors
    assert SECRET not in output + errors
    stored = everything_in(bucket)
    assert b"manifest" in stored or b"fingerprint" in stored
    assert SECRET.encode() not in stored
    recorded = everything_recorded(server.home)
    assert bucket in recorded  # the run is there
    assert SECRET not in recorded


@pytest.mark.parametrize("command", [["ingest"], ["align"], ["inspect"], ["storage", "ls"]])
def test_keys_in_a_uri_are_refused_before_anything_records_them(
    command: list[str], tmp_path: Path
) -> None:
    status = main([*command, f"s3://{USER}@bucket/faces", "--storage", str(tmp_path)])
    assert status == 2


def test_keys_in_a_field_of_the_configuration_are_refused_as_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = f"s3://{USER}@bucket/models/faces/0123456789abcdef"
    assert main(["run", "--set", f"train.pretrained_model={model}"]) == 2
    assert "credentials don't belong into a URI" in capsys.readouterr().err


def test_the_refusal_does_not_repeat_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", f"s3://{USER}@bucket/faces"]) == 2
    said = capsys.readouterr()
    assert "credentials" in said.err
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    ("deployment", "parameters"),
    [
        ("ingest/ingest", {"config": {"source": "KEYS/faces"}}),
        ("ingest/ingest", {"config": {"source": f"https://user:{SECRET}@host/faces.tgz"}}),
        ("ingest/ingest", {"config": {}, "root": "KEYS"}),
        ("align/align", {"raw": "KEYS/raw/faces"}),
        ("pipeline/pipeline-demo", {"config": {"storage": "KEYS"}}),
        ("pipeline/pipeline-demo", {"config": {"train": {"pretrained_model": "KEYS/model"}}}),
    ],
)
def test_the_server_refuses_a_run_with_keys_in_a_uri_before_it_records_it(
    site: Site, deployment: str, parameters: dict[str, Any]
) -> None:
    keys = json.dumps(parameters).replace("KEYS", f"s3://{USER}@bucket")
    with pytest.raises(HTTPError) as refused:
        site.run(deployment, json.loads(keys))
    assert refused.value.code == 409
    assert SECRET not in everything_recorded(site.home)
    assert SECRET not in (site.home / "server.log").read_text()


@dataclass
class Keep:
    """An S3 server that turns wrong keys away, and the environment that opens it."""

    folder: Path
    environment: dict[str, str]

    @property
    def root(self) -> str:
        return f"s3://{local_s3.BUCKET}/store"


NO_KEYS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keep]:
    folder = tmp_path_factory.mktemp("keep")
    port = free_port()
    process = local_s3.start(folder, port, folder / "s3.log", "--no-cleanup")
    yield Keep(folder, local_s3.environment(f"http://127.0.0.1:{port}"))
    process.kill()
    process.wait()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of this process without keys, restored afterwards whatever is put there."""
    monkeypatch.setattr(credentials, "_variables_in_use", {})
    aws_names = {name for name in os.environ if name.startswith("AWS_")}
    blocks = {"SESSION_TOKEN", "PROFILE", "REGION", "ENDPOINT_URL_S3"}
    blocks = {f"AWS_{name}" for name in blocks} | local_s3.environment("").keys()
    for name in aws_names | blocks | {credentials.NAME}:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in NO_KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def blocks(server: Site, keep: Keep) -> None:
    """Blocks on the server: `right` opens the bucket, `wrong` has another secret."""
    right = credentials.StorageCredentials.of(keep.environment)
    right.save("right", overwrite=True)
    wrong = {**keep.environment, "AWS_SECRET_ACCESS_KEY": SECRET}
    credentials.StorageCredentials.of(wrong).save("wrong", overwrite=True)


def test_a_deployed_run_uses_the_block_that_it_names_and_shows_nothing_of_it(
    keep: Keep, blocks: None, site: Site, bare: None, tmp_path: Path
) -> None:
    photographs = write_folder(tmp_path / "faces", files())
    worker = site.start_worker("cpu")
    try:
        parameters = {
            "config": {"source": str(photographs), "name": "kept"},
            "root": keep.root,
            "storage_credentials": "right",
        }
        run = site.wait(site.run("ingest/ingest", parameters))
    finally:
        site.stop_worker(worker)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    stored = [file.read_bytes() for file in (keep.folder / "facenet").rglob("*") if file.is_file()]
    assert any(b'"stage": "ingest"' in content for content in stored)
    right = keep.environment["AWS_SECRET_ACCESS_KEY"]
    assert not any(right.encode() in content for content in stored)
    recorded = everything_recorded(site.home)
    assert run["id"] in recorded
    logs = [file.read_text(errors="replace") for file in site.home.glob("*.log")]
    for secret in (right, SECRET):  # Prefect keeps blocks encrypted
        assert not any(secret in text for text in (recorded, *logs))


def test_the_store_turns_away_the_keys_of_a_wrong_block(
    keep: Keep, blocks: None, bare: None
) -> None:
    credentials.use("wrong")
    with pytest.raises(AccessError, match="check the credentials") as caught:
        storage.check_writable(keep.root)
    assert SECRET not in str(caught.value)
    credentials.use("right")  # by the same process, later
    storage.check_writable(keep.root)


def test_a_block_replaces_all_of_another_identity(
    keep: Keep, blocks: None, bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of other keys")
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    credentials.use("right")
    storage.check_writable(keep.root)


def test_stages_inside_a_run_use_its_block(keep: Keep, blocks: None, bare: None) -> None:
    assert credentials.open_root(keep.root, "right") == keep.root
    os.environ["AWS_ACCESS_KEY_ID"] = "expired"
    credentials.open_root(keep.root, None)
    storage.check_writable(keep.root)


def test_a_block_that_is_not_there_is_named_with_how_to_make_it(server: Site, bare: None) -> None:
    with pytest.raises(ConfigError, match=r"missing: .*`facenet credentials missing`"):
        credentials.use("missing")


def test_a_block_that_was_half_filled_in_is_refused_without_repeating_it(
    server: Site, blocks: None, bare: None
) -> None:
    kind = server.call("GET", "block_types/slug/facenet-storage-credentials")["id"]
    of_kind = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    (schema,) = server.call("POST", "block_schemas/filter", of_kind)
    data = {"secret_access_key": SECRET, "region": ""}  # as the form in the UI sends it
    document = {"name": f"half-{uuid.uuid4().hex}", "data": data}
    document |= {"block_type_id": kind, "block_schema_id": schema["id"]}
    server.call("POST", "block_documents/", document)
    with pytest.raises(ConfigError, match=r"half-.*: .*go together") as caught:
        credentials.use(document["name"])
    assert SECRET not in str(caught.value)


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(bare: None) -> None:
    nobody = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with (
        temporary_settings(nobody),
        pytest.raises(FacenetError, match=r"does not answer .* see PREFECT_API_URL"),
    ):
        credentials.use("right")


def test_the_command_keeps_the_environments_keys_in_a_block(
    keep: Keep, server: Site, bare: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main(["credentials", "mine"]) == 2  # there are none
    for name, value in keep.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["credentials", "mine"]) == 0
    assert main(["credentials", "mine"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["credentials", "mine", "--yes"]) == 0
    root = f"s3://{local_s3.BUCKET}/mine"
    storage.write_bytes(f"{root}/downloads/faces.tar", b"faces")
    for name in keep.environment.keys() - NO_KEYS - {"AWS_ENDPOINT_URL"}:
        monkeypatch.delenv(name)
    assert main(["storage", "du", "--storage", root]) == 1
    assert main(["storage", "du", "--storage", root, "--storage-credentials", "mine"]) == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"access_key_id": "a"}, "go together"),
        ({}, "give either"),
        ({"access_key_id": "a", "secret_access_key": SECRET, "profile": "p"}, "give either"),
        ({"profile": "p", "session_token": SECRET}, "goes with keys"),
    ],
)
def test_an_incomplete_block_is_refused_without_repeating_it(
    fields: dict[str, str], said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        credentials.StorageCredentials(**fields)
    assert SECRET not in str(caught.value)


def test_workers_of_the_runs_own_cluster_are_given_the_credentials(
    keep: Keep, blocks: None, bare: None
) -> None:
    credentials.use("right")
    elsewhere = {"AWS_ACCESS_KEY_ID": "of the other machine", "AWS_PROFILE": "of it, too"}
    options = {"env": elsewhere, "threads_per_worker": 1, "dashboard_address": None}
    config = ClusterConfig(
        workers=1, cluster_class="distributed.LocalCluster", cluster_options=options
    )
    client = start.start(config)
    try:
        client.wait_for_workers(1, timeout=60)
        names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"]
        (values,) = client.run(lambda: [os.environ.get(name) for name in names]).values()
        said = str(client.get_worker_logs()) + str(client.get_scheduler_logs())
    finally:
        client.close()
        client.cluster.close()
    assert values == [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], None]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said


PROFILES = {
    "AWS_SHARED_CREDENTIALS_FILE": """\
[default]
aws_access_key_id = somebody
aws_secret_access_key = of-somebody
[faces]
aws_access_key_id = {AWS_ACCESS_KEY_ID}
aws_secret_access_key = {AWS_SECRET_ACCESS_KEY}
""",
    "AWS_CONFIG_FILE": """\
[profile faces]
region = eu-central-1
endpoint_url = {AWS_ENDPOINT_URL}
request_checksum_calculation = when_required
""",
}


@pytest.fixture
def profiles(keep: Keep, bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile `faces` in shared files of AWS, with endpoint and region there alone."""
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")
    for name, text in PROFILES.items():
        (tmp_path / name).write_text(text.format(**keep.environment))
        monkeypatch.setenv(name, str(tmp_path / name))


def test_a_profile_brings_keys_endpoint_and_region(
    keep: Keep, profiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "faces")
    storage.check_writable(keep.root)
    client: Any = storage.file_system(keep.root)[0]
    assert client.s3.meta.region_name == "eu-central-1"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessError, match=r"profile \(nobody\) could not be found"):
        storage.check_writable(keep.root)


def test_a_block_may_name_a_profile(server: Site, keep: Keep, profiles: None) -> None:
    credentials.StorageCredentials(profile="faces").save("profile", overwrite=True)
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "of somebody else"
    credentials.use("profile")
    storage.check_writable(keep.root)
