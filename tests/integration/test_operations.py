"""A run failed at night: Retry in the UI does what failed again, and nothing else."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pytest

from deployments.local_site import ENDED, Site
from facenet_core import storage
from tests.support.tiny import TINY, facenet

SHARDS = 12
BROKEN = (3, 8)  # numbers of the shards that fail at first

T = TypeVar("T")


@dataclass
class Story:
    """One alignment whose shards 4 and 9 failed, and which was retried."""

    raw: str
    crops: str
    run: str
    failed: dict[str, Any]
    first_tries: list[dict[str, Any]]
    written_first: dict[str, str]
    retried: dict[str, Any] | None = None


def written(uri: str) -> dict[str, str]:
    """When each part below a folder was last written."""
    fs, path = storage.file_system(uri)
    fs.invalidate_cache()
    details = fs.find(path, detail=True)
    return {
        name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1]: str(
            info.get("mtime") or info.get("LastModified")
        )
        for name, info in details.items()
        if "/part-" in name and not name.endswith(".tmp")
    }


def times(root: Path) -> dict[str, int]:
    """When each file of the artifacts was last written."""
    return {
        str(file.relative_to(root)): file.stat().st_mtime_ns
        for folder in ("raw", "crops", "models", "reports")
        for file in (root / folder).rglob("*")
        if file.is_file()
    }


def number(run: dict[str, Any]) -> int:
    """From 0, of a task run called `align shard 4/12`."""
    return int(run["name"].split()[-1].split("/")[0]) - 1


def in_time(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """The answer of `look` as soon as it is good, or after a minute.

    What a run reports last reaches the server after its state, log lines in batches of two seconds.
    """
    deadline = time.monotonic() + 60
    while not good(answer := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return answer


def ended_task_runs(site: Site, flow_run: str, count: int) -> list[dict[str, Any]]:
    """All task runs of a run that ended, which should be so many."""
    return in_time(
        lambda: site.task_runs(flow_run),
        lambda found: len(found) == count and all(run["state_type"] in ENDED for run in found),
    )


@pytest.fixture(scope="module")
def raw(server: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Photographs in twelve shards."""
    root = tmp_path_factory.mktemp("operations")
    status, output, errors = facenet(
        "ingest", "synthetic", "--name", "ops", "--identities", 12, "--images-per-identity", 2,
        "--shards", SHARDS, "--storage", root, "--workers", 2,
    )  # fmt: skip
    assert status == 0, errors
    return output.splitlines()[-1]


@pytest.fixture(scope="module")
def stories(site: Site, raw: str, s3_server: str) -> Iterator[dict[str, Story]]:
    """The same on a local folder and on an S3 server, at the same time; what is retried is taken
    by another worker.

    Locally the place of two parts is taken, which stays so for all tries of a task; on S3 two raw
    parts are damaged, which no second try would cure.
    """
    bucket = f"s3://operations-{uuid.uuid4().hex}"
    s3 = fsspec.filesystem("s3")
    s3.mkdir(bucket)
    remote_raw = f"{bucket}/raw/ops/{Path(raw).name}"
    s3.put(raw, remote_raw, recursive=True)
    roots = {"local": str(Path(raw).parents[2]), "s3": bucket}
    raws = {
        "local": storage.open_artifact(raw, "ingest"),
        "s3": storage.open_artifact(remote_raw, "ingest"),
    }

    from facenet_core.alignment.stage import plan_align
    from facenet_core.config import AlignConfig

    config = AlignConfig(image_size=64)
    crops = {kind: plan_align(roots[kind], raws[kind], config).uri for kind in roots}
    in_the_way = [Path(crops["local"]) / f"crops/part-{shard:05d}.parquet" for shard in BROKEN]
    for folder in in_the_way:
        folder.mkdir(parents=True)
    damaged = {
        part: storage.read_bytes(part)
        for part in map(raws["s3"].part_uris("images").__getitem__, BROKEN)
    }
    for part, content in damaged.items():
        storage.write_bytes(part, b"\0" * len(content))

    worker = site.start_worker("cpu")
    stories = {}
    for kind, root in roots.items():
        parameters = {
            "raw": raws[kind].uri,
            "config": {"image_size": 64},
            "root": root,
            "where": {"workers": 1},
        }
        run = site.run("align/align", parameters)
        stories[kind] = Story(raws[kind].uri, crops[kind], run, {}, [], {})
    for story in stories.values():
        story.failed = site.wait(story.run)
        story.first_tries = ended_task_runs(site, story.run, SHARDS)
        story.written_first = written(story.crops)

    for folder in in_the_way:
        folder.rmdir()
    for part, content in damaged.items():
        storage.write_bytes(part, content)
    site.stop_worker(worker)
    worker = site.start_worker("cpu")
    for story in stories.values():
        site.retry(story.run)
    for story in stories.values():
        story.retried = site.wait(story.run)
    yield stories
    site.stop_worker(worker)


@pytest.mark.parametrize("kind", ["local", "s3"])
class TestRetry:
    def test_the_failed_run_names_its_shards_why_and_what_to_do(
        self, stories: dict[str, Story], kind: str
    ) -> None:
        story = stories[kind]
        assert story.failed["state_type"] == "FAILED"
        message = story.failed["state"]["message"]
        assert "align: 2 of 12 shards failed; the others are done and stay done" in message
        assert f"prefect flow-run retry {story.run}" in message
        reason = "Is a directory" if kind == "local" else "damaged"
        for shard in BROKEN:
            (line,) = (
                line for line in message.splitlines() if line.startswith(f"- shard {shard + 1}:")
            )
            assert f"part-{shard:05d}.parquet" in line
            assert reason in line

    def test_only_what_may_be_cured_was_tried_again(
        self, stories: dict[str, Story], kind: str
    ) -> None:
        tries = {number(run): run["run_count"] for run in stories[kind].first_tries}
        failing = 3 if kind == "local" else 1
        assert tries == {n: failing if n in BROKEN else 1 for n in range(SHARDS)}
        states = {number(run): run["state_type"] for run in stories[kind].first_tries}
        assert states == {n: "FAILED" if n in BROKEN else "COMPLETED" for n in range(SHARDS)}

    def test_retry_does_exactly_the_failed_shards_again(
        self, stories: dict[str, Story], kind: str, site: Site
    ) -> None:
        story = stories[kind]
        assert story.retried is not None
        assert story.retried["state_type"] == "COMPLETED", story.retried["state"]["message"]
        recorded = {run["id"] for run in story.first_tries}
        both = ended_task_runs(site, story.run, 2 * SHARDS)
        second = {number(run): run for run in both if run["id"] not in recorded}
        assert {n for n, run in second.items() if run["state_name"] != "Cached"} == set(BROKEN)
        assert second.keys() == set(range(SHARDS))
        after = written(story.crops)
        changed = {name for name, time in after.items() if story.written_first.get(name) != time}
        assert {int(name[-13:-8]) for name in changed} == set(BROKEN)
        assert storage.open_artifact(story.crops, "align")

    def test_a_shards_log_says_what_it_found(
        self, stories: dict[str, Story], kind: str, site: Site
    ) -> None:
        def parts() -> set[str]:
            log = site.log(stories[kind].run)
            lines = [line for line in log if re.search(r": \d+ images, ", line)]
            return {line.split(": ")[0].rsplit("/", 1)[-1] for line in lines}

        every = {f"part-{n:05d}.parquet" for n in range(SHARDS)}
        assert in_time(parts, every.issubset) == every


def test_parts_that_were_deleted_behind_prefects_back_are_made_again(
    stories: dict[str, Story], site: Site
) -> None:
    story = stories["local"]
    crops = Path(story.crops)
    before = written(story.crops)
    gone = [crops / "crops/part-00005.parquet", crops / "rejects/part-00007.parquet"]
    for file in (*gone, crops / storage.MANIFEST):
        file.unlink()
    status, _, errors = facenet(
        "align", story.raw, "--image-size", 64, "--storage", crops.parents[2], "--workers", 1
    )
    assert status == 0, errors
    assert storage.open_artifact(story.crops, "align")
    changed = {name for name, time in written(story.crops).items() if before[name] != time}
    assert {int(name[-13:-8]) for name in changed} == {5, 7}


def test_another_configuration_is_another_result(stories: dict[str, Story], site: Site) -> None:
    """What Prefect remembers of one crop size is not taken for another."""
    from facenet_core.alignment.stage import plan_align
    from facenet_core.config import AlignConfig

    story = stories["local"]
    root = str(Path(story.raw).parents[2])
    other = plan_align(root, storage.open_artifact(story.raw, "ingest"), AlignConfig(image_size=65))
    assert other.fingerprint not in story.crops
    remembered = {path.parent.name for path in Path(root, ".prefect/shards/align").rglob("0*")}
    assert remembered == {Path(story.crops).name}


@pytest.mark.slow
def test_retry_of_the_pipeline_does_the_failed_stage_and_what_was_lost(
    site: Site, worker: object, undisturbed: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    shutil.copytree(undisturbed, root)
    config = {**TINY, "storage": str(root), "validate": {**TINY["validate"], "min_accuracy": 1.0}}
    run = site.run("pipeline/pipeline-demo", {"config": config})
    failed = site.wait(run)
    assert failed["state_type"] == "FAILED"
    assert "not promoted: accuracy 0." in failed["state"]["message"]
    first = site.stages(run)
    assert [stage["name"].split()[0] for stage in first] == [
        "ingest", "ingest", "align", "align", "train", "validate",
    ]  # fmt: skip
    assert not list(root.glob("models/*/latest.json"))

    before = times(root)
    (holdout,) = root.glob("crops/tiny-holdout/*")
    shutil.rmtree(holdout)
    site.retry(run)
    again = site.wait(run)
    assert "not promoted" in again["state"]["message"]
    states = [stage["state_type"] for stage in site.stages(run)[len(first) :]]
    assert states == ["COMPLETED"] * 5 + ["FAILED"]
    assert storage.open_artifact(str(holdout), "align")
    changed = {file for file, time in times(root).items() if before.get(file) != time}
    assert {Path(file).parts[:2] for file in changed} == {("crops", "tiny-holdout")}
