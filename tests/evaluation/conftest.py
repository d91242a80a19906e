"""Artifacts to validate, small enough for tests."""

import pytest

from tests.support.small_artifacts import (
    IMAGES,
    PEOPLE,
    crop,
    image_id,
    publish_crops,
    publish_model,
)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def crops_uri(store: str) -> str:
    """Three shards with 12 people of 6 images (numbers 1 to 6); number 7 of each has no face."""
    rows = [crop(person, image) for person in range(PEOPLE) for image in range(1, IMAGES + 1)]
    rows.append(crop(0, 1, face=1))
    rejects = [
        {
            "image_id": image_id(person, IMAGES + 1),
            "identity": f"Person_{person}",
            "reason": "no_face",
            "detail": "none found in 250x250 pixels",
        }
        for person in range(PEOPLE)
    ]
    return publish_crops(store, [rows[number::3] for number in range(3)], rejects)


@pytest.fixture(scope="session")
def model_uri(store: str) -> str:
    return publish_model(store, "tiny")


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three folds of 4 + 4 pairs; in each fold one pair of each kind has an image without a face.

    Image 7 of each person is among the rejects.
    """
    lines = ["3\t4"]
    for fold in range(3):
        person, other = 4 * fold, 4 * fold + 1
        same = [(1, 2), (2, 3), (3, 4), (4, 7)]
        lines += [f"Person_{person}\t{a}\t{b}" for a, b in same]
        different = [(1, 1), (2, 2), (3, 3), (7, 4)]
        lines += [f"Person_{person}\t{a}\tPerson_{other}\t{b}" for a, b in different]
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)
