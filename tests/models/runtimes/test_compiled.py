"""Compiled networks in the cache folder: used where they fit, never in the way."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openvino")

from facenet_core import storage
from facenet_core.models.face_model import FaceModel
from facenet_core.models.formats import onnx
from facenet_core.models.runtimes import compiled, open_runtime
from tests.support.onnx_models import SIDE, linear, save

CROPS = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of compiled networks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/facenet-pipeline/compiled"


@pytest.fixture
def model(tmp_path):
    return imported(tmp_path, "arcface")


def imported(tmp_path, preset):
    file = save(linear(), tmp_path / "network.onnx")
    options = onnx.OnnxOptions(preset)
    plan = onnx.plan_import(str(tmp_path / "store"), file, options)
    onnx.import_model(plan, file, options, {})
    return FaceModel.load(plan.uri)


def embed(model, precision="float32"):
    return open_runtime(model, "openvino", precision=precision)(CROPS)


def without_file(model):
    """The same model, whose network comes from nowhere but the cache."""
    return replace(model, file=f"{model.file}-gone.onnx")


def test_a_network_is_compiled_once(cache, model):
    first = embed(model)
    (entry,) = cache.iterdir()
    assert entry.stat().st_mode & 0o077 == 0
    np.testing.assert_array_equal(embed(without_file(model)), first)
    assert list(cache.iterdir()) == [entry]


def test_what_a_network_follows_from_names_its_entry(cache, model, tmp_path, monkeypatch):
    embed(model)
    embed(imported(tmp_path, "facenet"))
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(compiled.ov, "__version__", "another")
    embed(model)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.write_bytes(b""),
        lambda entry: entry.write_bytes(entry.read_bytes()[:-100]),
        lambda entry: entry.write_bytes(entry.read_bytes()[:40] + b"\0" * 4000),
        lambda entry: (entry.unlink(), entry.mkdir()),
    ],
    ids=["empty", "cut", "overwritten", "a folder"],
)
def test_a_damaged_entry_is_compiled_again(cache, model, damage):
    first = embed(model)
    (entry,) = cache.iterdir()
    damage(entry)
    np.testing.assert_array_equal(embed(model), first)


def test_a_full_disk_is_left_alone(cache, model, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(compiled.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    assert embed(model).shape
    assert list(cache.iterdir()) == []


def test_where_no_cache_can_be_written_networks_are_compiled(tmp_path, model, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert embed(model).shape
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/facenet-pipeline").mkdir(parents=True)
    (tmp_path / "cache/facenet-pipeline/compiled").touch()
    assert embed(model).shape


def test_what_was_not_used_for_longest_makes_room(cache, model, tmp_path, monkeypatch):
    embed(model)
    (entry,) = cache.iterdir()
    monkeypatch.setattr(compiled, "MOST_BYTES", entry.stat().st_size * 5 // 2)
    other = imported(tmp_path, "facenet")
    embed(other)
    embed(without_file(model))  # used again
    embed(imported(tmp_path, "facenet-2017"))
    assert len(list(cache.iterdir())) == 2
    assert entry.exists()


def test_a_manifest_that_claims_the_digest_of_another_model_does_not_replace_it(cache, model):
    storage.write_bytes(str(model.file), linear("NHWC").SerializeToString())
    embed(model)
    assert not cache.exists()


def test_a_model_of_a_bare_file_is_not_kept(cache, model):
    embed(replace(model, digest=None))
    assert not cache.exists()


def test_several_may_compile_the_same_network_at_a_time(cache, model):
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: embed(model), range(8)))
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert len(list(cache.iterdir())) == 1
