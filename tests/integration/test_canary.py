"""A secret in every address of every command is nowhere in what the command leaves.

The commands run in this process: against a site that opens to user and signature alone, and against
addresses where nothing is. Then everything is searched that they wrote, recorded or printed.
"""

from __future__ import annotations

import argparse
import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.local_site import Site
from facenet_core import config
from facenet_core.errors import ConfigError, FacenetError
from facenet_core.storage import clients, retrying
from flows.cli import commands
from flows.cli.main import main
from tests.integration.test_secrets import everything_recorded
from tests.support.photographs import files, jpeg, write_tar

CANARY = "canary-5d1f6e7a90b2"
AWAY = "AWAY"  # in words of a command: an address that refuses, and repeats what it was asked


@dataclass
class Guarded:
    """A site whose files open to a user and a signature alone; counts what it served."""

    folder: Path
    port: int = 0
    served: list[str] = field(default_factory=list)

    def address(self, name: str, parameter: str = "X-Amz-Signature") -> str:
        return f"http://ann:{CANARY}@127.0.0.1:{self.port}/{name}?{parameter}={CANARY}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    site = Guarded(tmp_path_factory.mktemp("guarded"))
    user = "Basic " + base64.b64encode(f"ann:{CANARY}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name, _, query = self.path.partition("?")
            file = site.folder / name.lstrip("/")
            if (
                self.headers["Authorization"] != user
                or not query.endswith(CANARY)
                or name == "/away"
            ):
                self.send_error(403, f"{user} may not {self.path}")
                return
            if not file.is_file():
                self.send_error(404)
                return
            site.served.append(name)
            data = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield site
        server.shutdown()


@pytest.fixture(autouse=True)
def on_the_server(server: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://ann:{CANARY}@127.0.0.1:9")
    monkeypatch.setattr(clients, "REQUEST_TRIES", 1)
    monkeypatch.setattr(retrying, "TRIES", 1)
    with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        yield


def artifacts(root: Path) -> tuple[str, str]:
    """Crops and a model."""
    crops, models = (next(root.glob(f"{folder}/tiny/*")) for folder in ("crops", "models"))
    return str(crops), str(models)


def require_no_canary(text: str, *folders: Path) -> None:
    """Nowhere in a text, nor in files, their names, and the columns of tables."""
    leaks = ["the terminal"] if CANARY in text else []
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += repr(pq.read_table(file).to_pydict()).encode()
        if CANARY.encode() in content or CANARY in str(file):
            leaks.append(str(file))
    assert not leaks


def require_no_canary_recorded(server: Site, runs: int) -> None:
    """Nowhere in the database and logs of a server that recorded so many runs of flows at least."""
    APILogWorker.drain_all(at_exit=False)
    recorded = everything_recorded(server.home)
    assert recorded.count('INSERT INTO "flow_run" ') >= runs
    at = recorded.find(CANARY)
    assert at < 0, recorded[max(at - 300, 0) : at + 60]
    require_no_canary("", *[server.home])


def test_commands_use_the_secrets_of_addresses_and_leave_them_nowhere(
    guarded: Guarded,
    server: Site,
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifacts = {
        stage: str(next(undisturbed.glob(f"{stage}/*/*"))) for stage in ("crops", "models")
    }
    crops, model = artifacts["crops"], artifacts["models"]
    ids = pq.read_table(next(Path(crops).glob("crops/*.parquet")))["image_id"].to_pylist()[:4]
    rows = [f"{fold},{ids[fold]},{ids[i]},true" for fold in (0, 1) for i in (2, 3)]
    rows += [f"{fold},{ids[i]},{ids[fold]},false" for fold in (0, 1) for i in (2, 3)]
    texts = {
        "pairs.csv": "\n".join(["fold,image_id_a,image_id_b,same", *rows]),
        "groups.csv": "\n".join(["image_id,group", *(f"{name},a" for name in ids)]),
        "rates.txt": "0: 0.01\n",
        "list.csv": "".join(
            f"{guarded.address(f'{n}.jpg', parameter)},Ann\n"
            for n, parameter in enumerate(("sig", "X-Goog-Signature", "X-Amz-Signature"))
        ),
        "own.yaml": yaml.safe_dump(
            {"own": {"title": "Own", "archive": {"name": "a.tgz", "urls": [guarded.address("a")]}}}
        ),
    }
    for name, text in texts.items():
        (guarded.folder / name).write_text(text)
    for number in range(3):
        (guarded.folder / f"{number}.jpg").write_bytes(jpeg(number))
    write_tar(guarded.folder / "faces.tgz", files())
    root = tmp_path / "root"
    short = [
        "--learning-rate",
        "-1",
        "--epoch-size",
        "1",
        "--max-nrof-epochs",
        "1",
        "--image-size",
        "64",
    ]
    short += ["--batch-size", "4", "--embedding-size", "8"]
    of_pairs = ["--pairs", guarded.address("pairs.csv")]
    of_pairs += ["--groups", guarded.address("groups.csv")]
    for words in (
        ["ingest", guarded.address("faces.tgz"), "--verbose"],
        ["ingest", str(guarded.folder / "list.csv"), "--name", "listed"],
        ["train", crops, "--learning-rate-schedule-file", guarded.address("rates.txt"), *short],
        ["validate", crops, model, "--lfw-nrof-folds", "2", *of_pairs],
        ["storage", "ls", "--json"],
    ):
        assert main([*words, "--storage", str(root)]) == 0, capsys.readouterr().err
    catalogue = guarded.address("own.yaml", "sig")
    assert main(["datasets", "own", "--catalogue", catalogue]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    names = {"/faces.tgz", "/0.jpg", "/rates.txt", "/pairs.csv", "/groups.csv", "/own.yaml"}
    assert names <= set(guarded.served)
    listed = pq.read_table(next((root / "raw" / "listed").glob("*")) / "images")["image_id"]
    at = f"127.0.0.1:{guarded.port}"
    assert sorted(listed.to_pylist()) == [f"{at}/{number}.jpg" for number in range(3)]
    require_no_canary(said.out + said.err, root)
    require_no_canary_recorded(server, runs=4)


def positionals_and_options(command: str) -> Iterator[list[str]]:
    """Words of a command with an address in each place that takes a text, one after the other."""
    made: list[argparse.Action] = []

    class Spy(argparse.ArgumentParser):
        def add_argument(self, *names: str, **options: object) -> argparse.Action:
            made.append(super().add_argument(*names, **options))
            return made[-1]

    spy = Spy()
    commands.find()[command].add_arguments(spy)
    made += [a for group in spy._action_groups for a in group._group_actions if a not in made]
    takes_text = [a for a in made if a.type is None and not a.choices and a.nargs != 0]
    positionals = [a for a in made if not a.option_strings]
    base = [str(next(iter(a.choices))) if a.choices else AWAY for a in positionals]
    if command == "compare":
        base.append(AWAY)
    needed = [
        word
        for a in made
        if a.required and a.option_strings
        for word in (a.option_strings[0], AWAY)
    ]
    yield [command, *base, *needed]
    for action in takes_text:
        if action.option_strings and not action.required:
            yield [command, *base, *needed, action.option_strings[0], AWAY]


def fields_with_addresses(section: str, model: type[config.Config]) -> Iterator[list[str]]:
    """Words of a stage, and of the pipeline, with an address in each field that is one."""
    base = {"train": ["train", "CROPS", "--learning-rate", "-1"]}
    base |= {"validate": ["validate", "CROPS", "MODEL"], "ingest": ["ingest", "nobody-knows"]}
    for name, spec in model.model_fields.items():
        if isinstance(spec.json_schema_extra, dict) and spec.json_schema_extra.get("path"):
            yield ["ingest", AWAY] if name == "source" else [*base[section], f"--{name}", AWAY]
            yield ["run", "--set", f"{section}.{name}={AWAY}", "--set", "cluster.workers=no"]


STAGES = {
    "ingest": config.IngestConfig,
    "align": config.AlignConfig,
    "train": config.TrainConfig,
    "validate": config.ValidateConfig,
}
TOOLS = [name for name in commands.find() if name not in ("run", "doctor", *STAGES)]
FAILING = [
    *(words for name in TOOLS for words in positionals_and_options(name)),
    *(words for name, model in STAGES.items() for words in fields_with_addresses(name, model)),
    ["align", AWAY],
    ["train", AWAY],
    ["validate", AWAY, AWAY],
    ["validate", AWAY, AWAY, AWAY],
    ["ingest", "synthetic", "--dask-address", AWAY],
    ["ingest", "synthetic", "--storage", AWAY],
    ["ingest", "synthetic", "--storage", "s3://nowhere/root"],
    ["ingest", "synthetic", f"--unknown={AWAY}"],
    ["ingest", "synthetic", "--config", AWAY],
    ["storage", AWAY],
    [AWAY],
]


def test_commands_that_fail_say_and_record_nothing_of_the_secrets_of_addresses(
    guarded: Guarded,
    server: Site,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    crops, model = artifacts(undisturbed)
    meant = {AWAY: guarded.address("away"), "CROPS": crops, "MODEL": model}
    root = ["--storage", str(tmp_path / "root")]
    for template in FAILING:
        words = [re.sub("AWAY|CROPS|MODEL", lambda m: meant[m[0]], word) for word in template]
        words += [] if "--storage" in words else root
        try:
            status = main([*words, "--debug"])
        except SystemExit as usage:
            status = int(usage.code or 0)
        said = capsys.readouterr()
        require_no_canary(said.out + said.err)
        assert status, template
    require_no_canary("", tmp_path)
    require_no_canary_recorded(server, runs=5)


def test_flows_that_python_calls_record_no_secrets(
    guarded: Guarded, server: Site, tmp_path: Path
) -> None:
    from flows.align import align
    from flows.validate import validate

    away = guarded.address("away")
    for call in (
        lambda: align(away, root=str(tmp_path)),
        lambda: validate(away, away, root=str(tmp_path)),
    ):
        with pytest.raises(FacenetError) as caught:
            call()
        assert CANARY not in str(caught.value)
    with pytest.raises(ConfigError):
        align(f"s3://key:{CANARY}@bucket/faces", root=str(tmp_path))
    require_no_canary("", tmp_path)
    require_no_canary_recorded(server, runs=2)
