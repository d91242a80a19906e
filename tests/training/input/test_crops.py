import os
import threading
from pathlib import Path

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.config import TrainConfig
from facenet_core.errors import ArtifactError, TrainingError
from facenet_core.prefetch import ahead
from facenet_core.training.input.cache import make_room, open_copy, touch
from facenet_core.training.input.crops import require_room
from facenet_core.training.input.data import open_data
from tests.support.small_crops import draw, write_crops


@pytest.fixture
def crops(crops_uri):
    return open_copy(storage.open_artifact(crops_uri, "align"))


def test_holds_the_first_face_of_every_image(crops):
    assert len(crops) == 26
    names = np.array(crops.identities)[crops.identity_of_row]
    assert sorted(zip(*np.unique(names, return_counts=True), strict=True)) == [
        ("Ann", 8),
        ("Bob", 8),
        ("Cy", 8),
        ("Di", 2),
    ]


def test_rows_are_decoded_to_the_pixels_that_were_stored(crops):
    people = ["Cy", "Ann", "Bob", "Di"]
    stored = {draw(p, s).tobytes(): name for p, name in enumerate(people) for s in range(8)}
    images = crops.decode_rows(range(len(crops)), (36, 36))
    results = [stored[image.tobytes()] for image in images]
    assert results == crops.identities.take(crops.identity_of_row).to_pylist()


def test_is_copied_once_and_then_reused(crops_uri, crops):
    before = crops.path.stat()
    again = open_copy(storage.open_artifact(crops_uri, "align"))
    assert again.path.stat().st_ino == before.st_ino


def test_a_copy_that_fails_leaves_nothing(root):
    uri = write_crops(root, {"Ann": 3, "Bob": 3})
    manifest = storage.open_artifact(uri, "align")
    part = Path(uri, manifest.parts[1].name)
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=part.name):
        open_copy(manifest)
    assert not list((cache_folder() / "crops").glob(f"*{manifest.fingerprint}*"))


def test_no_crops_are_an_error(root):
    uri = write_crops(root, {})
    with pytest.raises(TrainingError, match="no crops to train on"):
        open_data(uri, TrainConfig(image_size=32))


def test_crops_of_another_size_are_an_error_that_names_the_image(crops):
    with pytest.raises(TrainingError, match=r"\.jpg has 36×36 pixels, the first one 40×40"):
        crops.decode_rows([0], (40, 40))


@pytest.mark.parametrize("size", [(30, 40), (40, 30)])
def test_crops_need_room_for_the_input(size):
    require_room(size, 30)
    with pytest.raises(TrainingError, match=f"{size[1]}×{size[0]} pixels, image_size is 31"):
        require_room(size, 31)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whatever_the_threads(threads):
    assert list(ahead(lambda step: step**2, range(20), threads)) == [n**2 for n in range(20)]


def test_an_error_while_loading_reaches_the_reader():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda step: 1 // step, range(3), 2))


def test_no_thread_outlives_its_reader():
    batches = ahead(lambda step: step, range(1000), 2)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_a_damaged_copy_is_made_anew(root):
    uri = write_crops(root, {"Ann": 3, "Bob": 3})
    manifest = storage.open_artifact(uri, "align")
    path = open_copy(manifest).path
    path.write_bytes(path.read_bytes()[:-300])
    assert len(open_copy(manifest)) == 6


def test_copies_that_were_not_used_for_the_longest_time_make_room(tmp_path):
    for age, name in enumerate(["newest", "middle", "oldest"]):
        (tmp_path / f"{name}.arrow").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.arrow", (1e9 - age, 1e9 - age))
    make_room(tmp_path, needed=150, limit=350)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["middle", "newest"]
    touch(tmp_path / "middle.arrow")
    make_room(tmp_path, needed=250, limit=350)
    assert [path.stem for path in tmp_path.iterdir()] == ["middle"]


def test_crops_larger_than_the_cache_are_refused_before_anything_is_removed(tmp_path):
    (tmp_path / "other.arrow").write_bytes(bytes(100))
    with pytest.raises(TrainingError, match="raise crop_cache_gib"):
        make_room(tmp_path, needed=400, limit=350)
    with pytest.raises(TrainingError, match="set XDG_CACHE_HOME"):
        make_room(tmp_path / "beside", needed=2**60, limit=2**61)
    assert (tmp_path / "other.arrow").exists()
