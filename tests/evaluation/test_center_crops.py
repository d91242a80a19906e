import io

import numpy as np
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.config import AlignConfig, ValidateConfig
from facenet_core.errors import PairsError
from facenet_core.evaluation.center_crops import centre_crop, centre_crops
from facenet_core.evaluation.stage import plan_validate, validate
from facenet_core.storage import parquet, schemas
from tests.support.small_artifacts import SIZE, crop


def picture(seed: int, side: int = 80) -> bytes:
    """A photograph: red, with a green square of half its side in the middle."""
    pixels = np.zeros((side, side + 20, 3), np.uint8)
    pixels[..., 0] = 200
    rows = slice(side // 4, 3 * side // 4)
    pixels[rows, side // 4 + 10 : 3 * side // 4 + 10] = (0, 100 + seed, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def name(person: str, image: int) -> str:
    return f"{person}/{person}_{image:04d}.png"


def publish(root: str, rejects: dict[str, str]) -> tuple[str, str]:
    """Raw photographs 1 to 4 of four people, and crops of those that are not rejects."""
    names = [(person, image) for person in ("A", "B", "C", "D") for image in (1, 2, 3, 4)]
    raw = storage.plan_stage(root, "ingest", "people", {}, [], 1)
    part = "images/" + parquet.part_name(0)
    with parquet.PartWriter(storage.join(raw.uri, part), schemas.RAW, raw.fingerprint) as file:
        for seed, (person, image) in enumerate(names):
            file.write(
                {
                    "image_id": name(person, image),
                    "identity": person,
                    "image": {"bytes": picture(seed), "path": name(person, image)},
                    "sha256": "",
                }
            )
    storage.publish(
        raw, storage.Outcome([parquet.describe_part(raw.uri, part)], {"images": 16}), {}
    )
    config = AlignConfig(image_size=SIZE, margin=0, image_format="png").determining()
    inputs = [storage.Input(raw.uri, raw.fingerprint)]
    crops = storage.plan_stage(root, "align", "people", config, inputs, 1)
    parts = []
    for folder, schema in (("crops", schemas.CROPS), ("rejects", schemas.REJECTS)):
        part = f"{folder}/{parquet.part_name(0)}"
        with parquet.PartWriter(storage.join(crops.uri, part), schema, crops.fingerprint) as file:
            for person, image in names:
                reason = rejects.get(name(person, image))
                key = {"image_id": name(person, image), "identity": person}
                if folder == "crops" and reason is None:
                    file.write({**crop(ord(person), image), **key})
                elif folder == "rejects" and reason is not None:
                    file.write({**key, "reason": reason, "detail": ""})
        parts.append(parquet.describe_part(crops.uri, part))
    aligned = 16 - len(rejects)
    counts = {"images": 16, "aligned": aligned, "crops": aligned, "rejects": len(rejects)}
    storage.publish(crops, storage.Outcome(parts, counts), {})
    return crops.uri, raw.uri


REJECTS = {name("A", 1): "no_face", name("B", 2): "no_face", name("C", 1): "crashed"}
PAIRS = "2 2\nA 1 2\nB 1 3\nA 3 B 2\nA 4 B 4\nC 2 3\nD 1 2\nC 1 D 3\nC 3 D 4\n"


@pytest.fixture
def artifacts(root):
    return publish(root, REJECTS)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(PAIRS)
    return str(path)


def test_the_middle_of_a_photograph_is_cropped_as_a_face_would_be():
    pixels = np.asarray(Image.open(io.BytesIO(picture(0))))
    assert (centre_crop(pixels, 20, margin=0) == (0, 100, 0)).all()
    with_margin = centre_crop(pixels, 40, margin=40)  # now the whole height, and as much width
    assert (with_margin[0] == (200, 0, 0)).all()
    assert (with_margin[12:28, 12:28] == (0, 100, 0)).all()


def test_centre_crops_are_encoded_as_the_artifacts_crops_are(artifacts):
    crops_uri, _ = artifacts
    crops = storage.open_artifact(crops_uri, "align")
    crops_of_centres = list(centre_crops(crops, {name("A", 1), name("B", 2)}))
    assert [crop.image_id for crop in crops_of_centres] == [name("A", 1), name("B", 2)]
    assert [crop.identity for crop in crops_of_centres] == ["A", "B"]
    with Image.open(io.BytesIO(crops_of_centres[0].data)) as image:
        assert (image.size, image.format) == ((SIZE, SIZE), "PNG")
    assert np.isnan(crops_of_centres[0].score)


def test_pairs_without_a_face_are_decided_by_the_middle(root, artifacts, model_uri, pairs):
    crops_uri, _ = artifacts
    skipping = ValidateConfig(pairs=pairs)
    cropping = ValidateConfig(pairs=pairs, missing="centre-crop")
    skipped, cropped = (
        validate(plan_validate(root, crops_uri, model_uri, config), config)
        for config in (skipping, cropping)
    )
    assert skipped.details["metrics"]["pairs_skipped"] == 3
    assert skipped.details["metrics"]["pairs_centre_cropped"] == 0
    # An image that crashed the aligner is not touched again.
    assert cropped.details["metrics"]["pairs_skipped"] == 1
    assert cropped.details["metrics"]["pairs_centre_cropped"] == 2
    assert cropped.details["metrics"]["images_centre_cropped"] == 2


def test_the_photographs_must_still_be_there(root, artifacts, model_uri, pairs):
    crops_uri, raw_uri = artifacts
    storage.remove(raw_uri)
    config = ValidateConfig(pairs=pairs, missing="centre-crop")
    plan = plan_validate(root, crops_uri, model_uri, config)
    with pytest.raises(PairsError, match=r"needs the photographs .*or set missing: skip"):
        validate(plan, config)
