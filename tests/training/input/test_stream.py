"""Crops that are read straight from storage."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from facenet_core import storage
from facenet_core.cache import cache_folder
from facenet_core.errors import ArtifactError
from facenet_core.training import stage
from facenet_core.training.input import batches, data
from facenet_core.training.input.cache import open_copy, path_of
from facenet_core.training.input.stream import open_stream
from tests.support.small_crops import write_crops
from tests.support.training_runs import SMALL, Killed, changed, history, kill_at, run, weights

STREAM = changed(
    SMALL, read_crops="stream", random_crop=True, keep_probability=0.8, checkpoint_every=3,
    validation_set_split_ratio=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def many_parts(tmp_path_factory):
    """36 parts, of 40 people with six images each."""
    people = {f"Person{number:02d}": 6 for number in range(40)}
    return write_crops(str(tmp_path_factory.mktemp("many") / "store"), people, parts=36)


@pytest.fixture(params=["crops_uri", "many_parts"])
def uri(request):
    return request.getfixturevalue(request.param)


def test_rows_are_those_of_the_copy(uri):
    manifest = storage.open_artifact(uri, "align")
    stream, copy = open_stream(manifest), open_copy(manifest)
    assert stream.identities == copy.identities
    assert stream.content == copy.content
    np.testing.assert_array_equal(stream.identity_of_row, copy.identity_of_row)
    rows = np.random.default_rng(0).permutation(len(copy))
    assert [stream.image_id(row) for row in rows] == [copy.image_id(row) for row in rows]
    np.testing.assert_array_equal(
        stream.decode_rows(rows, (36, 36)), copy.decode_rows(rows, (36, 36))
    )


def test_a_pass_shows_every_training_image_once_with_its_label(many_parts):
    config = changed(STREAM, batch_size=8, keep_probability=1.0)
    opened = data.open_data(many_parts, config)
    steps = 160 // 8
    feed = batches.StreamFeed(opened, config)
    visible = Counter()
    for batch, labels in feed.batches(0, steps):
        visible.update(
            (image.tobytes(), int(y)) for image, y in zip(batch["images"], labels, strict=True)
        )
    selected = opened.selection
    assert len(selected.training) == 160
    expected = [(opened.crops.decode(row).tobytes(), int(selected.labels[row]))
                for row in selected.training]  # fmt: skip
    assert visible == Counter(expected)


def test_no_more_is_kept_in_memory_than_asked_for(many_parts, monkeypatch):
    from facenet_core.training.input import stream as crop_stream

    monkeypatch.setattr(crop_stream, "_BYTES_IN_MEMORY", 1)
    stream = open_stream(storage.open_artifact(many_parts, "align"))
    stream.keep(3 * max(group.bytes for group in stream.groups))
    for row in range(len(stream)):
        stream.decode(row)
        assert len(stream._read) <= 4
    stream.expect(range(len(stream.groups)))
    in_memory = sum(stream.groups[g].bytes for g in stream._read)
    assert in_memory == stream._bytes <= stream._bytes_in_memory


def test_a_damaged_part_is_named(root):
    uri = write_crops(root, {"Ann": 3, "Bob": 3})
    manifest = storage.open_artifact(uri, "align")
    stream = open_stream(manifest)
    part = Path(uri, manifest.parts[1].name)
    content = bytearray(part.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    part.write_bytes(content)
    with pytest.raises(ArtifactError, match=part.name):
        stream.decode_rows(range(len(stream)), (36, 36))


def test_trains_without_a_copy_and_resumes_bit_for_bit(root, many_parts):
    path = path_of(storage.open_artifact(many_parts, "align"))
    path.unlink(missing_ok=True)
    through = run(f"{root}/through", many_parts, STREAM)
    with pytest.raises(Killed):
        run(root, many_parts, STREAM, "first", kill_at(8))
    resumed = run(root, many_parts, STREAM, "second")
    assert history(resumed) == history(through)
    for one, other in zip(weights(resumed), weights(through), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not path.exists()


def test_streams_from_object_storage_what_it_streams_from_a_folder(bucket, crops_uri):
    people = {"Cy": 8, "Ann": 8, "Bob": 8, "Di": 2}
    here, there = (
        batches.StreamFeed(data.open_data(uri, STREAM), STREAM)
        for uri in (crops_uri, write_crops(bucket, people))
    )
    for (a, y), (b, z) in islice(zip(here.batches(0, 9), there.batches(0, 9), strict=True), 9):
        np.testing.assert_array_equal(a["images"], b["images"])
        np.testing.assert_array_equal(y, z)


def test_the_copy_is_used_where_it_fits_and_the_way_of_reading_is_part_of_the_plan(
    root, crops_uri, caplog
):
    def plan(**fields):
        return stage.plan_train(root, crops_uri, changed(SMALL, **fields))

    path_of(storage.open_artifact(crops_uri, "align")).unlink(missing_ok=True)
    assert plan().config["read_crops"] == "cache"
    small = plan(crop_cache_gib=1e-6)
    assert small.config["read_crops"] == "stream"
    assert f"fit into {cache_folder() / 'crops'}, so they are read from storage" in caplog.text
    assert small.fingerprint == plan(read_crops="stream").fingerprint != plan().fingerprint
    # This picks images of people all over the data.
    assert plan(crop_cache_gib=1e-6, sampler="balanced").config["read_crops"] == "cache"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"sampler": "balanced"}, "sampler: balanced"),
        ({"loss": "triplet"}, "the triplet loss"),
        ({"loss": "none", "teacher": "t", "teacher_mixes": 5}, "teacher_mixes"),
    ],
)
def test_what_picks_images_is_refused_with_the_remedy(fields, what):
    with pytest.raises(ValueError, match=f"{what} picks images all over .* set read_crops: cache"):
        changed(SMALL, read_crops="stream", **fields)
