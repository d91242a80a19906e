import io

import numpy as np
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.embedding.crops import decode
from facenet_core.errors import ArtifactError
from facenet_core.evaluation.embeddings import Crop, embed_crops, read_crops
from facenet_core.models.face_model import FaceModel
from facenet_core.models.runtimes import open_runtime
from tests.support.small_artifacts import SIZE, crop, image_id, publish_crops

WANTED = [image_id(3, 2), image_id(0, 1), image_id(5, 6), image_id(0, 1), image_id(9, 4)]

NUMBERS = [(0, 1), (3, 2), (5, 6), (9, 4)]  # those of `WANTED`, in the order of their ids


@pytest.fixture(scope="module")
def runtime(model_uri):
    return open_runtime(FaceModel.load(model_uri))


def embed(uri, runtime, ids, *, batch_size=3, use_flipped_images=False, **options):
    crops = storage.open_artifact(uri, "align")
    config = ValidateConfig(lfw_batch_size=batch_size, use_flipped_images=use_flipped_images)
    return embed_crops(crops, ids, runtime, config, **options)


def test_each_image_is_embedded_once_in_the_order_of_the_ids(crops_uri, runtime):
    embeddings = embed(crops_uri, runtime, WANTED)
    assert embeddings.image_ids == (image_id(0, 1), image_id(3, 2), image_id(5, 6), image_id(9, 4))
    assert embeddings.identities == ("Person_0", "Person_3", "Person_5", "Person_9")
    for name, row in zip(NUMBERS, embeddings.vectors, strict=True):
        pixels = decode("", crop(*name)["image"]["bytes"])
        np.testing.assert_allclose(row, runtime(pixels[None])[0], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_embeddings_do_not_depend_on_the_batch(crops_uri, runtime, batch_size):
    embeddings = embed(crops_uri, runtime, WANTED, batch_size=batch_size).vectors
    np.testing.assert_allclose(embeddings, embed(crops_uri, runtime, WANTED).vectors, atol=1e-5)


def test_mirrored_images_are_joined(crops_uri, runtime):
    plain = embed(crops_uri, runtime, WANTED).vectors
    joined = embed(crops_uri, runtime, WANTED, use_flipped_images=True).vectors
    pixels = [decode("", crop(*name)["image"]["bytes"]) for name in NUMBERS]
    mirrored = runtime(np.stack(pixels)[:, :, ::-1])
    np.testing.assert_allclose(joined, np.concatenate([plain, mirrored], axis=1), atol=1e-5)
    assert not np.allclose(mirrored, plain)


def test_images_of_other_sizes_are_fitted_one_by_one(crops_uri, runtime):
    pixels = Image.fromarray(np.zeros((SIZE + 8, SIZE, 3), np.uint8) + np.uint8(90))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    others = [Crop("Z/other.png", "Z", buffer.getvalue())]
    embeddings = embed(crops_uri, runtime, WANTED, others=others, batch_size=10)
    assert embeddings.image_ids[-1] == "Z/other.png"
    assert np.isnan(embeddings.sizes[-1])
    assert np.isfinite(embeddings.vectors).all()
    plain = embed(crops_uri, runtime, WANTED)
    np.testing.assert_allclose(embeddings.vectors[:-1], plain.vectors, atol=1e-5)


def test_progress_counts_images(crops_uri, runtime):
    seen = []
    embed(crops_uri, runtime, WANTED, progress=lambda *counts: seen.append(counts))
    assert seen == [(3, 4), (4, 4)]


def test_only_the_first_face_counts(crops_uri):
    crops = storage.open_artifact(crops_uri, "align")
    (first_face,) = read_crops(crops, {image_id(0, 1)})
    assert first_face == Crop(image_id(0, 1), "Person_0", crop(0, 1)["image"]["bytes"], 1.0, SIZE)


def test_a_table_of_embeddings_has_the_shards_schema(crops_uri, runtime):
    embeddings = embed(crops_uri, runtime, WANTED)
    table = embeddings.table()
    assert table["image_id"].to_pylist() == list(embeddings.image_ids)
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), embeddings.vectors)


def test_images_without_a_crop_are_named(crops_uri, runtime):
    with pytest.raises(ArtifactError, match=r"no crop of 1 image: Person_0/Person_0_0007.jpg"):
        embed(crops_uri, runtime, [image_id(0, 1), image_id(0, 7)])


def test_a_crop_that_cannot_be_decoded_is_named(tmp_path, runtime):
    broken = crop(0, 1)
    broken["image"]["bytes"] = broken["image"]["bytes"][:60]
    uri = publish_crops(str(tmp_path), [[broken, crop(0, 2)]], [])
    with pytest.raises(ArtifactError, match=r"Person_0_0001.jpg: its crop cannot be decoded"):
        embed(uri, runtime, [image_id(0, 1), image_id(0, 2)])
