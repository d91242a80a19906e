import io

import numpy as np
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import ArtifactError
from facenet_core.evaluation.embeddings import Crop, decode, embed_crops, read_crops
from facenet_core.models.face_model import FaceModel
from tests.support.small_artifacts import DIMENSIONS, SIZE, crop, image_id, publish_crops

WANTED = [image_id(3, 2), image_id(0, 1), image_id(5, 6), image_id(0, 1), image_id(9, 4)]


@pytest.fixture(scope="module")
def embedder(model_uri):
    return FaceModel.load(model_uri)


def embed(uri, embedder, ids, *, batch_size=3, use_flipped_images=False, **options):
    crops = storage.open_artifact(uri, "align")
    config = ValidateConfig(lfw_batch_size=batch_size, use_flipped_images=use_flipped_images)
    return embed_crops(crops, ids, embedder, config, **options)


def test_each_image_is_embedded_once_in_the_order_of_the_ids(crops_uri, embedder):
    found = embed(crops_uri, embedder, WANTED)
    assert found.image_ids == (image_id(0, 1), image_id(3, 2), image_id(5, 6), image_id(9, 4))
    assert found.identities == ("Person_0", "Person_3", "Person_5", "Person_9")
    for name, row in zip([(0, 1), (3, 2), (5, 6), (9, 4)], found.vectors, strict=True):
        pixels = decode(Crop("", "", crop(*name)["image"]["bytes"]))
        np.testing.assert_allclose(row, embedder.embed(pixels[None])[0], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_embeddings_do_not_depend_on_the_batch(crops_uri, embedder, batch_size):
    found = embed(crops_uri, embedder, WANTED, batch_size=batch_size).vectors
    np.testing.assert_allclose(found, embed(crops_uri, embedder, WANTED).vectors, atol=1e-5)


def test_mirrored_images_are_joined(crops_uri, embedder):
    plain = embed(crops_uri, embedder, WANTED).vectors
    joined = embed(crops_uri, embedder, WANTED, use_flipped_images=True).vectors
    assert joined.shape == (4, 2 * DIMENSIONS)
    np.testing.assert_allclose(joined[:, :DIMENSIONS], plain, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(joined[:, DIMENSIONS:], axis=1), 1, rtol=1e-5)
    assert not np.allclose(joined[:, DIMENSIONS:], plain)


def test_images_of_other_sizes_are_fitted_one_by_one(crops_uri, embedder):
    pixels = Image.fromarray(np.zeros((SIZE + 8, SIZE, 3), np.uint8) + np.uint8(90))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    others = [Crop("Z/other.png", "Z", buffer.getvalue())]
    found = embed(crops_uri, embedder, WANTED, others=others, batch_size=10)
    assert found.image_ids[-1] == "Z/other.png"
    assert np.isnan(found.sizes[-1])
    assert np.isfinite(found.vectors).all()
    plain = embed(crops_uri, embedder, WANTED)
    np.testing.assert_allclose(found.vectors[:-1], plain.vectors, atol=1e-5)


def test_progress_counts_images(crops_uri, embedder):
    seen = []
    embed(crops_uri, embedder, WANTED, progress=lambda *counts: seen.append(counts))
    assert seen == [(3, 4), (4, 4)]


def test_only_the_first_face_counts(crops_uri):
    crops = storage.open_artifact(crops_uri, "align")
    (found,) = read_crops(crops, {image_id(0, 1)})
    assert found == Crop(image_id(0, 1), "Person_0", crop(0, 1)["image"]["bytes"], 1.0, SIZE)


def test_a_table_of_embeddings_has_the_shards_schema(crops_uri, embedder):
    found = embed(crops_uri, embedder, WANTED)
    table = found.table()
    assert table["image_id"].to_pylist() == list(found.image_ids)
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), found.vectors)


def test_images_without_a_crop_are_named(crops_uri, embedder):
    with pytest.raises(ArtifactError, match=r"no crop of 1 image: Person_0/Person_0_0007.jpg"):
        embed(crops_uri, embedder, [image_id(0, 1), image_id(0, 7)])


def test_a_crop_that_cannot_be_decoded_is_named(tmp_path, embedder):
    broken = crop(0, 1)
    broken["image"]["bytes"] = broken["image"]["bytes"][:60]
    uri = publish_crops(str(tmp_path), [[broken, crop(0, 2)]], [])
    with pytest.raises(ArtifactError, match=r"Person_0_0001.jpg: its crop cannot be decoded"):
        embed(uri, embedder, [image_id(0, 1), image_id(0, 2)])
