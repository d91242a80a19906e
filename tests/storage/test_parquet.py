"""Shards: deterministic Parquet that other tools open, read a row group at a time."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.storage import parquet, schemas


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number % 256, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


def crop(number: int) -> dict:
    return {
        "image_id": f"Ann/Ann_{number:04d}.jpg",
        "identity": "Ann",
        "face_index": 0,
        "image": {"bytes": picture(number), "path": f"Ann/Ann_{number:04d}.jpg"},
        "box": [1.0, 2.0, 3.0, 4.0],
        "landmarks": [float(i) for i in range(10)],
        "score": 0.5,
    }


def write_crops(uri: str, rows: int, fingerprint: str = "abc") -> str:
    with parquet.PartWriter(uri, schemas.CROPS, fingerprint) as writer:
        for number in range(rows):
            writer.write(crop(number))
    return uri


@pytest.fixture
def part(tmp_path: Path) -> str:
    return write_crops(str(tmp_path / "crops" / parquet.part_name(0)), 5)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_crops(str(tmp_path / name), 150) for name in ("one", "two"))
    assert storage.sha256(one) == storage.sha256(two)


def test_row_groups_are_small_enough_to_hold_one(tmp_path: Path) -> None:
    uri = write_crops(str(tmp_path / "part"), parquet.ROW_GROUP_ROWS + 10)
    assert [len(group) for group in parquet.read_row_groups(uri)] == [parquet.ROW_GROUP_ROWS, 10]


def test_large_images_make_row_groups_with_few_rows(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")
    with parquet.PartWriter(uri, schemas.RAW, "abc") as writer:
        for number in range(5):
            image = {"bytes": bytes(parquet.ROW_GROUP_BYTES // 2), "path": ""}
            row = {"image_id": str(number), "identity": "", "image": image, "sha256": ""}
            writer.write(row)
    assert [len(group) for group in parquet.read_row_groups(uri)] == [2, 2, 1]


def test_a_part_knows_the_artifact_that_it_belongs_to(part: str) -> None:
    assert parquet.part_is_current(part, "abc")
    assert not parquet.part_is_current(part, "abd")
    assert not parquet.part_is_current(part + "-nothing", "abc")


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_a_part_cut_short_is_not_current_and_does_not_read(part: str, keep: int) -> None:
    file = Path(part)
    file.write_bytes(file.read_bytes()[:keep])
    assert not parquet.part_is_current(part, "abc")
    with pytest.raises(ArtifactError, match="part-00000"):
        list(parquet.read_row_groups(part))


def test_a_damaged_footer_is_not_current_and_does_not_read(part: str) -> None:
    file = Path(part)
    data = bytearray(file.read_bytes())
    data[-300:-20] = bytes(280)
    file.write_bytes(data)
    assert not parquet.part_is_current(part, "abc")
    with pytest.raises(ArtifactError, match="part-00000"):
        parquet.count_rows(part)


def test_damaged_pages_are_an_error_that_names_the_part(part: str) -> None:
    file = Path(part)
    data = bytearray(file.read_bytes())
    data[4:60] = bytes(56)
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="part-00000"):
        list(parquet.read_row_groups(part))


def test_a_bit_flipped_in_a_page_never_gives_other_rows(part: str) -> None:
    file = Path(part)
    whole, rows, results = file.read_bytes(), parquet.read_table(part), 0
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # behind them is the footer
    for position in range(4, pages, pages // 100):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            assert parquet.read_table(part).equals(rows)  # an idle bit of a page's header
        except ArtifactError:
            results += 1
    assert results > 80


def test_an_exception_while_writing_leaves_no_part(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        parquet.PartWriter(str(tmp_path / "part"), schemas.CROPS, "abc") as writer,
    ):
        writer.write(crop(0))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_does_not_fit_the_schema_leaves_no_part(tmp_path: Path) -> None:
    with (
        pytest.raises(Exception, match=r"convert|expected|length"),
        parquet.PartWriter(str(tmp_path / "part"), schemas.CROPS, "abc") as writer,
    ):
        writer.write({**crop(0), "box": [1.0]})
    assert list(tmp_path.iterdir()) == []


class TestOtherTools:
    def test_hugging_face_datasets_shows_images(self, part: str) -> None:
        datasets = pytest.importorskip("datasets")
        loaded = datasets.Dataset.from_parquet(part, cache_dir=str(Path(part).parent / "cache"))
        assert isinstance(loaded.features["image"], datasets.Image)
        assert loaded[3]["image"].size == (16, 16)
        assert loaded[3]["box"] == [1.0, 2.0, 3.0, 4.0]

    def test_duckdb(self, part: str) -> None:
        duckdb = pytest.importorskip("duckdb")
        query = f"SELECT count(*), min(box[1]), max(octet_length(image.bytes)) FROM '{part}'"
        count, left, size = duckdb.sql(query).fetchall()[0]
        assert (count, left) == (5, 1.0)
        assert size == max(len(picture(number)) for number in range(5))

    def test_pandas(self, part: str) -> None:
        frame = pytest.importorskip("pandas").read_parquet(part)
        assert list(frame.columns) == schemas.CROPS.names
        assert frame["image"][2]["bytes"] == picture(2)

    def test_polars(self, part: str) -> None:
        frame = pytest.importorskip("polars").read_parquet(part)
        assert frame["box"].to_list()[0] == [1.0, 2.0, 3.0, 4.0]
        assert frame["image"].struct.field("bytes")[2] == picture(2)


@pytest.mark.parametrize("rejects", [0, 1])
def test_an_artifact_opens_with_hugging_face_datasets_as_it_is(tmp_path, root, rejects) -> None:
    datasets = pytest.importorskip("datasets")
    plan = storage.plan_stage(root, "align", "faces", {"rejects": rejects}, [], 1)
    row = {"image_id": "b.jpg", "identity": "B", "reason": "no_face", "detail": ""}
    tables = {"crops/": (schemas.CROPS, [crop(0)]), "rejects/": (schemas.REJECTS, [row] * rejects)}
    for folder, (schema, rows) in tables.items():
        uri = storage.join(plan.uri, folder + parquet.part_name(0))
        with parquet.PartWriter(uri, schema, plan.fingerprint) as writer:
            for one in rows:
                writer.write(one)
    storage.write_bytes(storage.join(plan.uri, "crops.png"), picture(0))
    parts = [parquet.describe_part(plan.uri, name + parquet.part_name(0)) for name in tables]
    parts.append(storage.describe_file(plan.uri, "crops.png"))
    manifest = storage.publish(plan, storage.Outcome(parts, {"images": 1 + rejects}), {})

    def load(*name: str):
        return datasets.load_dataset(plan.uri, *name, split="train", cache_dir=str(tmp_path / "hf"))

    assert load()["image"][0].size == (16, 16)
    if rejects:
        assert load("rejects")["reason"] == ["no_face"]
    else:
        assert datasets.get_dataset_config_names(plan.uri) == ["crops"]
    assert storage.CARD not in {part.name for part in manifest.parts}


@pytest.mark.parametrize("schema", [schemas.RAW, schemas.CROPS, schemas.PAIRS, schemas.EMBEDDINGS])
def test_every_column_has_a_hugging_face_feature(schema) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features.from_arrow_schema(schema)
    assert list(features) == schema.names


def test_the_schema_of_a_part_is_the_documented_one(part: str) -> None:
    schema = pq.read_schema(part)
    assert schema.names == schemas.CROPS.names
    assert schema.types == schemas.CROPS.types
