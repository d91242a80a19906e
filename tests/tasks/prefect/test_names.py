"""What runs are called in the Prefect UI."""

from __future__ import annotations

import pytest

from tasks.align import align_shard
from tasks.prefect import names


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/store/raw/lfw/d285c9f996fed57a", "lfw"),
        ("s3://faces/crops/casia/d285c9f996fed57a/", "casia"),
        ("newest:lfw", "lfw"),
        ("promoted:casia", "casia"),
        ("/data/lfw-deepfunneled.tgz", "lfw-deepfunneled"),
        ("photographs.tar.gz", "photographs"),
        ("https://example.org/sets/people.zip", "people"),
        ("/models/20180402-114759", "20180402-114759"),
        ("lfw", "lfw"),
    ],
)
def test_an_artifact_goes_by_its_name(uri: str, name: str) -> None:
    assert names.artifact(uri) == name


def test_shards_count_from_one() -> None:
    name = align_shard.task_run_name
    assert callable(name)
    assert name({"number": 0, "count": 120}) == "align shard 1/120"
    assert name({"number": 119, "count": 120}) == "align shard 120/120"
