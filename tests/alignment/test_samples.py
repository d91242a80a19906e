from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.alignment import samples
from facenet_core.config import AlignConfig
from facenet_core.storage import parquet
from tests.support.raw_shards import aligned, face, raw_artifact

BLANK = BytesIO()
Image.new("RGB", (90, 60), "#20a0f0").save(BLANK, "PNG")
FACES = {f"P{n}/P{n}_0001.jpg": face(n) for n in range(5)}
FACELESS = {"Sky/blue.png": BLANK.getvalue(), "Sky/torn.png": BLANK.getvalue()[:60]}


def sheet(uri: str, name: str) -> np.ndarray:
    picture = Image.open(BytesIO(storage.read_bytes(storage.join(uri, name))))
    return np.asarray(picture.convert("RGB")).astype(int)


def test_crops_and_rejects_are_shown_and_are_part_of_the_artifact(root: str) -> None:
    uri, manifest = aligned(root, raw_artifact(root, [FACES, FACELESS]), AlignConfig())
    assert {p.name: p.rows for p in manifest.parts if p.name.endswith(".png")} == {
        "crops.png": 0,
        "rejects.png": 0,
    }
    picture = sheet(uri, "rejects.png")
    blue = np.abs(picture - [0x20, 0xA0, 0xF0]).max(axis=2) < 8
    grey = np.abs(picture - 0xD8).max(axis=2) < 8
    assert blue[:, :94].sum() > 4_000, "the photograph without a face"
    assert not blue[:, 94:].any()
    assert grey[:, 94:].sum() > 6_000, "a tile for the one that cannot be decoded"
    assert sheet(uri, "crops.png").shape[1] == 5 * 94 + 6


def test_without_rejects_there_is_no_sheet_of_them(root: str) -> None:
    uri, manifest = aligned(root, raw_artifact(root, [FACES]), AlignConfig())
    assert [p.name for p in manifest.parts if p.name.endswith(".png")] == ["crops.png"]
    assert not storage.exists(f"{uri}/rejects.png")


def test_the_same_crops_give_the_same_sheet(root: str) -> None:
    made = [
        aligned(f"{root}-{n}", raw_artifact(f"{root}-{n}", [FACES, FACELESS]), AlignConfig())
        for n in range(2)
    ]
    assert made[0][1].parts == made[1][1].parts


@pytest.mark.parametrize(
    "name", ["a\nb", "\t", "面" * 300, "👩‍👩‍👧", "…", "a/" + "b" * 500, "ه" * 80]
)
def test_any_name_can_stand_below_a_picture(root: str, name: str) -> None:
    uri, _ = aligned(root, raw_artifact(root, [{name: face(0)}]), AlignConfig())
    assert sheet(uri, "crops.png").shape == (124, 100, 3)


def parts_of(rows: list[int]) -> list[storage.Part]:
    return [storage.Part(f"crops/{n}", count, 1, "") for n, count in enumerate(rows)]


@pytest.mark.parametrize(
    "rows", [[1], [0, 3, 0], [1000], [400] * 250, [0, 1] * 30, [7, 0, 90_000, 1]]
)
def test_samples_are_spread_evenly_over_the_set(rows: list[int]) -> None:
    places = [(part.name, n) for part, numbers in samples.spread(parts_of(rows)) for n in numbers]
    assert len(places) == len(set(places)) == min(sum(rows), 40)
    numbers = [sum(rows[: int(name[6:])]) + n for name, n in places]
    assert all(0 <= n < rows[int(name[6:])] for name, n in places)
    gaps = np.diff(numbers)
    assert len(numbers) == 1 or gaps.max() - gaps.min() <= 1


def test_of_a_large_part_only_the_row_groups_of_the_samples_are_read(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1)
    raw = raw_artifact(root, [FACES])
    rows = parquet.read_rows(f"{raw}/images/{parquet.part_name(0)}", [1, 4], ["image_id"])
    assert [row["image_id"] for row in rows] == ["P1/P1_0001.jpg", "P4/P4_0001.jpg"]
