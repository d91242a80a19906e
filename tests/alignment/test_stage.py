from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facenet_core import storage
from facenet_core.alignment import faces, stage
from facenet_core.alignment.crops import TEMPLATE, crop, estimate_similarity
from facenet_core.config import AlignConfig
from facenet_core.errors import AccountingError
from facenet_core.imaging.decode import decode
from facenet_core.storage import parquet
from tests.support.raw_shards import aligned, face, raw_artifact, rows

PEOPLE = {f"P{n}/P{n}_0001.jpg": face(n) for n in range(8)}


def picture(image: Image.Image, format: str = "PNG") -> bytes:
    stream = BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def test_every_photograph_is_in_crops_or_with_its_reason_in_rejects(root: str) -> None:
    broken = {
        "P1/empty.jpg": b"",
        "P1/text.jpg": b"this is text\n",
        "P1/cut.jpg": face(1)[: len(face(1)) // 2],
        "P2/blank.png": picture(Image.new("RGB", (120, 90), "teal")),
        "P2/tiny.png": picture(Image.new("RGB", (8, 200))),
        "P3/poster.png": picture(Image.new("1", (2000, 1000))),
    }
    raw = raw_artifact(root, [PEOPLE | broken, broken, PEOPLE])
    uri, manifest = aligned(root, raw, AlignConfig(max_pixels=1_999_999))
    assert manifest.counts == {
        "images": 28,
        "crops": 16,
        "aligned": 16,
        "rejects": 12,
        "rejects.undecodable": 6,
        "rejects.no_face": 2,
        "rejects.too_small": 2,
        "rejects.too_large": 2,
    }
    assert [row["image_id"] for row in rows(uri, "crops")] == [*PEOPLE, *PEOPLE]
    rejects = rows(uri, "rejects")
    assert [row["image_id"] for row in rejects] == [*broken, *broken]
    assert all(row["detail"] for row in rejects)


def test_an_image_that_vanishes_is_an_error(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    align = faces.align
    monkeypatch.setattr(faces, "align", lambda *given: list(align(*given))[1:])
    raw = raw_artifact(root, [PEOPLE])
    with pytest.raises(AccountingError, match="8 images went in, 7 came out as crops and 0 as"):
        aligned(root, raw, AlignConfig())


def by_image(uri: str) -> dict[tuple[str, int], dict]:
    return {(row["image_id"], row["face_index"]): row for row in rows(uri, "crops")}


MIXED = {
    f"M{n}/{n}.png": picture(Image.open(BytesIO(face(n))).resize(size))
    for n, size in enumerate([(250, 250), (97, 131), (640, 480), (180, 320), (301, 299), (64, 64)])
}


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict]:
    """The crops of photographs of many sizes, made in one shard of one row group."""
    root = str(tmp_path_factory.mktemp("store"))
    config = AlignConfig(detect_multiple_faces=True)
    uri, _ = aligned(root, raw_artifact(root, [PEOPLE | MIXED]), config)
    return by_image(uri)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(list(PEOPLE | MIXED)),
    cuts=st.sets(st.integers(1, 13), max_size=4),
    group=st.integers(1, 14),
    held=st.integers(1, 2_000_000),
)
def test_shards_row_groups_batches_and_order_make_no_difference(
    tmp_path: Path,
    undivided: dict[tuple[str, int], dict],
    order: list[str],
    cuts: set[int],
    group: int,
    held: int,
) -> None:
    every = PEOPLE | MIXED
    ends = [0, *sorted(cuts), len(order)]
    shards = [{name: every[name] for name in order[a:b]} for a, b in pairwise(ends)]
    root = str(tmp_path / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_ROWS", group)
        patch.setattr(faces, "_BATCH_PIXELS", held)
        uri, _ = aligned(root, raw_artifact(root, shards), AlignConfig(detect_multiple_faces=True))
    result = by_image(uri)
    assert result.keys() == undivided.keys()
    for key, row in result.items():
        np.testing.assert_allclose(row["box"], undivided[key]["box"], rtol=0, atol=1e-3)
        np.testing.assert_allclose(row["landmarks"], undivided[key]["landmarks"], rtol=0, atol=1e-3)
        assert row["image"] == undivided[key]["image"], key


def test_boxes_and_landmarks_of_a_scaled_photograph_are_in_full_resolution(root: str) -> None:
    large = {
        f"L{n}/{n}.png": picture(Image.open(BytesIO(face(n))).resize((1001, 1003)))
        for n in range(4)
    }
    raw = raw_artifact(root, [large])
    full = by_image(aligned(root, raw, AlignConfig(margin=44))[0])
    scaled = by_image(aligned(root, raw, AlignConfig(margin=44, scale_above=120_000))[0])
    assert full.keys() == scaled.keys()
    for key, row in scaled.items():
        side = full[key]["box"][2] - full[key]["box"][0]
        np.testing.assert_allclose(row["box"], full[key]["box"], rtol=0, atol=side / 12)
        np.testing.assert_allclose(row["landmarks"], full[key]["landmarks"], rtol=0, atol=side / 12)
        there = crop(decode(large[key[0]]), row["box"], 160, 44).astype(float)
        assert np.abs(decode(row["image"]["bytes"]) - there).mean() < 4


def test_crops_by_similarity_keep_box_and_landmarks_and_have_the_template_in_them(
    root: str,
) -> None:
    raw = raw_artifact(root, [PEOPLE])
    original = by_image(aligned(root, raw, AlignConfig())[0])
    config = AlignConfig(crop="similarity", image_size=112, image_format="png")
    similar = by_image(aligned(root, raw, config)[0])
    for key, row in similar.items():
        for column in ("box", "landmarks", "score"):
            assert row[column] == original[key][column]
        crop = decode(row["image"]["bytes"])
        assert crop.shape == (112, 112, 3)
        photograph = decode(PEOPLE[key[0]])
        matrix = estimate_similarity(np.reshape(row["landmarks"], (5, 2)), TEMPLATE)
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        x, y = (back @ (*TEMPLATE[2], 1))[:2].round().astype(int)
        seen = crop[70:74, 54:58].astype(float).mean(axis=(0, 1))
        there = photograph[y - 2 : y + 3, x - 2 : x + 3].astype(float).mean(axis=(0, 1))
        assert np.abs(seen - there).max() < 12


def test_margin_makes_no_other_artifact_where_it_is_not_used(root: str) -> None:
    raw = storage.open_artifact(raw_artifact(root, [PEOPLE]), "ingest")
    plans = [
        stage.plan_align(root, raw, AlignConfig(crop=crop, margin=margin))
        for crop in ("similarity", "original")
        for margin in (0, 32)
    ]
    assert plans[0].uri == plans[1].uri
    assert len({plan.uri for plan in plans}) == 3


def test_a_shard_that_is_done_is_not_done_again(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = storage.open_artifact(raw_artifact(root, [PEOPLE]), "ingest")
    config = AlignConfig()
    plan = stage.plan_align(root, raw, config)
    first = stage.align_shard(plan, raw.part_uris("images")[0], 0, config)
    monkeypatch.delattr(faces, "align")
    assert stage.align_shard(plan, raw.part_uris("images")[0], 0, config) == first
