"""Looking at artifacts: counts, lineage, people, sheets of pictures, and damage."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping.inspect import overview
from facenet_core.housekeeping.sample_sheet import picture_sheet
from facenet_core.storage import parquet, schemas
from tests.support.photographs import PEOPLE, jpeg


def raw_artifact(root: str, people: dict[str, int], broken: int = 0) -> str:
    """A raw artifact with so many images of each person in two parts."""
    plan = storage.plan_stage(root, "ingest", "people", {}, [storage.Input("x.tgz", "ab")], 1)
    images = [person for person, count in people.items() for _ in range(count)]
    parts = []
    for number, half in enumerate((images[: len(images) // 2], images[len(images) // 2 :])):
        name = f"images/{parquet.part_name(number)}"
        with parquet.PartWriter(storage.join(plan.uri, name), schemas.RAW, "f") as part:
            for row, person in enumerate(half):
                data = b"broken" if row < broken else jpeg(row, 40 + row)
                path = f"{person}/{number}-{row}.jpg"
                image = {"bytes": data, "path": path}
                part.write({"image_id": path, "identity": person, "image": image, "sha256": ""})
        parts.append(parquet.describe_part(plan.uri, name))
    storage.publish(plan, storage.Outcome(parts, {"images": len(images)}), {})
    return plan.uri


def artifact_of(root: str, stage: str, inputs: list[str]) -> str:
    """An artifact without parts, made from others."""
    arguments = [storage.Input(uri, uri.rpartition("/")[2]) for uri in inputs]
    plan = storage.plan_stage(root, stage, "people", {}, arguments, 1)
    storage.publish(
        plan, storage.Outcome([], {}, {"metrics": {"accuracy": 0.5, "metric": "cosine"}}), {}
    )
    return plan.uri


def test_people_and_how_many_images_each_has(root: str) -> None:
    people = overview(raw_artifact(root, {"Ann": 7, "Bob": 3, "Eve": 1, "Zoë": 1})).people
    assert people is not None
    assert (people.identities, people.images) == (4, 12)
    assert (people.fewest, people.median, people.most) == (1, 2, 7)
    assert people.histogram == (("1", 2), ("2", 0), ("3–5", 1), ("6–10", 1))
    assert people.largest[:2] == (("Ann", 7), ("Bob", 3))


def test_of_crops_the_first_face_counts(root: str) -> None:
    plan = storage.plan_stage(root, "align", "people", {}, [], 1)
    name = f"crops/{parquet.part_name(0)}"
    face = {"box": [0.0] * 4, "landmarks": [0.0] * 10, "score": 1.0, "identity": "Ann"}
    with parquet.PartWriter(storage.join(plan.uri, name), schemas.CROPS, "f") as part:
        for number in (0, 1):
            image = {"bytes": jpeg(1), "path": "1"}
            part.write({"image_id": "1", "face_index": number, "image": image, **face})
    storage.publish(plan, storage.Outcome([parquet.describe_part(plan.uri, name)], {}), {})
    people = overview(plan.uri).people
    assert people is not None
    assert people.images == 1


def test_the_lineage_goes_back_to_the_source(root: str) -> None:
    raw = raw_artifact(root, PEOPLE)
    crops = artifact_of(root, "align", [raw])
    model = artifact_of(root, "train", [crops])
    report = artifact_of(root, "validate", [crops, model])
    ancestors = [(a.depth, a.stage, a.state) for a in overview(report).lineage]
    assert ancestors == [
        (1, "align", "whole"),
        (2, "ingest", "whole"),
        (3, "", "source"),
        (1, "train", "whole"),
        (2, "align", "whole"),
        (3, "ingest", "whole"),
        (4, "", "source"),
    ]
    storage.remove(storage.join(raw, "images", parquet.part_name(0)))
    assert overview(crops).lineage[0].state == "damaged"
    storage.remove(raw)
    assert overview(crops).lineage[0].state == "gone"


def test_damage_is_told_instead_of_counted(root: str) -> None:
    raw = raw_artifact(root, PEOPLE)
    storage.remove(storage.join(raw, "images", parquet.part_name(1)))
    seen = overview(raw)
    assert seen.damaged == ("images/part-00001.parquet",)
    assert seen.people is None


def test_what_is_no_artifact_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no finished artifact here"):
        overview(str(tmp_path))


def test_a_sheet_shows_pictures_of_the_whole_set(root: str) -> None:
    uri = raw_artifact(root, {f"P{n}": 5 for n in range(30)}, broken=1)
    raw = storage.open_artifact(uri, "ingest")
    with Image.open(io.BytesIO(picture_sheet(raw, samples=12) or b"")) as sheet:
        columns, lines = (sheet.width - 8) // 128, (sheet.height - 8) // 144
        assert columns * lines >= 12
        centres = [
            sheet.getpixel((8 + n % columns * 128 + 60, 8 + n // columns * 144 + 60))
            for n in range(12)
        ]
    assert all(centre != (255, 255, 255) for centre in centres)
    assert len(set(centres)) > 4
    assert picture_sheet(raw, samples=12) == picture_sheet(raw, samples=12)


def test_a_report_shows_its_plot_and_a_model_nothing(root: str) -> None:
    report = artifact_of(root, "validate", ["crops", "model"])
    plan = storage.plan_stage(root, "validate", "plotted", {}, [], 1)
    storage.write_bytes(storage.join(plan.uri, "roc.png"), b"a plot")
    manifest = storage.publish(
        plan, storage.Outcome([storage.describe_file(plan.uri, "roc.png")], {}), {}
    )
    assert picture_sheet(storage.Artifact(plan.uri, manifest)) == b"a plot"
    assert picture_sheet(storage.open_artifact(report, "validate")) is None
