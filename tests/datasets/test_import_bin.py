import io
import pickle

import numpy as np
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.datasets.import_bin import import_set, is_set, plan_import
from facenet_core.datasets.pairs import files
from facenet_core.storage import parquet


def image(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def bin_file(tmp_path):
    """Four pairs; one image is in two of them, one is damaged."""
    images = [image(shade) for shade in (0, 20, 0, 40, 60, 80, 100)] + [image(120)[:40]]
    file = tmp_path / "agedb 30.bin"
    file.write_bytes(pickle.dumps((images, [True, False, True, False])))
    return str(file)


def test_a_set_becomes_crops_that_bring_their_pairs(root, bin_file):
    plan = plan_import(root, bin_file)
    assert is_set(bin_file)
    assert plan.name == "agedb-30"
    manifest = import_set(plan, bin_file, {})
    artifact = storage.open_artifact(plan.uri, "align")
    assert manifest == artifact.manifest
    counts = {"images": 7, "crops": 6, "aligned": 6, "rejects": 1, "pairs": 4}
    assert manifest.counts == counts
    (part,) = artifact.part_uris("crops")
    table = parquet.read_table(part)
    assert table["image_id"].to_pylist() == [f"00000{n}.jpg" for n in (0, 1, 3, 4, 5, 6)]
    assert table["image"][2].as_py()["bytes"] == image(40)
    assert table["box"][0].as_py() == [0, 0, 112, 112]
    assert table["score"].null_count == 6
    (rejects,) = artifact.part_uris("rejects")
    assert parquet.read_table(rejects)["reason"].to_pylist() == ["undecodable"]


def test_its_pairs_have_as_many_folds_as_are_wanted(root, bin_file):
    plan = plan_import(root, bin_file)
    import_set(plan, bin_file, {})
    uri = storage.join(plan.uri, "pairs.parquet")
    read = files.read(uri, nrof_folds=2)
    assert read.fold.tolist() == [0, 0, 1, 1]
    assert read.folding == "position"
    # The third image is the first again.
    assert read.image_id_a.tolist() == ["000000.jpg", "000000.jpg", "000004.jpg", "000006.jpg"]
    assert np.array_equal(read.same, [True, False, True, False])


def test_the_content_names_the_artifact_not_the_place(root, bin_file, tmp_path):
    moved = tmp_path / "elsewhere" / "agedb 30.bin"
    moved.parent.mkdir()
    moved.write_bytes(storage.read_bytes(bin_file))
    plan = plan_import(root, bin_file)
    assert plan_import(root, str(moved)).fingerprint == plan.fingerprint
    moved.write_bytes(pickle.dumps(([image(1), image(2)], [True])))
    assert plan_import(root, str(moved)).fingerprint != plan.fingerprint


def test_a_picture_that_another_program_would_read_is_a_reject(root, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "EPS")  # which Pillow hands to Ghostscript
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(([image(1), stream.getvalue()], [False])))
    plan = plan_import(root, str(path))
    assert import_set(plan, str(path), {}).counts["rejects"] == 1
