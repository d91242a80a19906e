"""The rules of the audit, on embeddings whose people are known."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from facenet_core.audit import duplicates, labels, leaks, stage
from facenet_core.audit.duplicates import Copy, Photographs, copies_within, duplicate_findings
from facenet_core.audit.faces import Faces
from facenet_core.audit.findings import Limits
from facenet_core.audit.identities import Cores, distance, find_cores
from facenet_core.audit.neighbours import nearest, nearest_others
from facenet_core.audit.thumbnails import correlation, crop_to_face, mirrored, thumbnail
from facenet_core.config import AuditConfig
from tests.support.small_crops import draw

PEOPLE, EACH, DIMENSIONS = 12, 10, 64
LIMITS, CONFIG = Limits(stage.DEFAULT_THRESHOLD), AuditConfig()


def embeddings(people: list[int], seed: int = 0) -> np.ndarray:
    """Unit vectors of people; two of one person are about 0.8 apart."""
    centres = np.random.default_rng(99).normal(size=(100, DIMENSIONS))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = np.random.default_rng(seed).normal(size=(len(people), DIMENSIONS))
    vectors = centres[people] + noise * np.sqrt(0.8**2 / (2 - 0.8**2) / DIMENSIONS)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def faces(people: list[int], names: list[str], scores: float = 1.0) -> Faces:
    distinct = sorted({*names} - {""})
    numbers = [distinct.index(name) if name else -1 for name in names]
    ids = pa.array([f"{name}/{row}.jpg" for row, name in enumerate(names)])
    vectors = embeddings(people)
    score = np.full(len(names), scores, np.float32)
    return Faces(ids, tuple(distinct), np.array(numbers, np.int32), vectors, score)


def clean() -> tuple[list[int], list[str]]:
    people = [person for person in range(PEOPLE) for _ in range(EACH)]
    return people, [f"person-{person:02d}" for person in people]


def found(people: list[int], names: list[str], scores: float = 1.0) -> dict[str, set[int]]:
    data = faces(people, names, scores)
    findings = stage.find(data, find_cores(data, LIMITS.same), None, CONFIG, LIMITS)
    return {kind: {f.row for f in findings if f.kind == kind} for kind in stage.KINDS}


def test_nothing_is_wrong_with_a_clean_set() -> None:
    assert not any(found(*clean()).values())


def test_an_image_of_another_identity_is_a_wrong_label_and_names_its_owner() -> None:
    people, names = clean()
    names[3], names[47] = names[-1], names[0]
    data = faces(people, names)
    findings = stage.find(data, find_cores(data, LIMITS.same), None, CONFIG, LIMITS)
    owners = {f.row: data.name(f.other) for f in findings if f.other is not None}
    assert {f.kind for f in findings} == {"wrong_label"}
    assert owners == {3: "person-00", 47: "person-04"}
    assert all("looks like" in f.reason for f in findings)


@pytest.mark.parametrize(("score", "kind"), [(1.0, "wrong_label"), (0.8, "no_face")])
def test_an_image_of_nobody_is_a_wrong_label_or_no_face_by_the_detector(
    score: float, kind: str
) -> None:
    people, names = clean()
    people[5] = 50
    said = found(people, names, score)
    assert said.pop(kind) == {5}  # type: ignore[arg-type]
    assert not any(said.values())


@pytest.mark.parametrize(
    ("person", "images", "are_wrong"), [(63, 2, True), (63, 3, False), (3, 3, True)]
)
def test_images_that_two_others_are_like_are_wrong_only_where_they_are_somebody_elses(
    person: int, images: int, are_wrong: bool
) -> None:
    people, names = clean()
    people[:images] = [person] * images
    assert found(people, names)["wrong_label"] == ({*range(images)} if are_wrong else set())


def test_the_second_person_of_an_identity_is_found() -> None:
    people, names = clean()
    names[EACH : EACH + 6] = [names[0]] * 6
    people[EACH : EACH + 6] = [60] * 6
    said = found(people, names)
    assert said["mixed_identity"] == {*range(EACH, EACH + 6)}
    assert not said["wrong_label"]


def test_two_names_of_one_person_are_found_and_neither_is_a_wrong_label() -> None:
    people, names = clean()
    names[:4] = ["again"] * 4
    said = found(people, names)
    assert said["split_identity"] == {*range(4)}
    assert sum(map(len, said.values())) == 4


def test_identities_of_one_image_and_images_of_nobody_known_are_left_alone() -> None:
    people, names = clean()
    people += [70, 71, 3]
    names += ["alone", "", ""]
    assert not any(found(people, names).values())


def test_leaked_people_are_found_under_other_names() -> None:
    data = faces(*clean())
    others = faces([3] * 5 + [80] * 5, ["ann"] * 5 + ["bob"] * 5)
    others = Faces(
        others.image_ids,
        others.names,
        others.identities,
        embeddings([3] * 5 + [80] * 5, 7),
        others.scores,
    )
    cores, theirs = find_cores(data, LIMITS.same), find_cores(others, LIMITS.same)
    findings = leaks.leaked_people(data, cores, others, theirs, LIMITS, 10**6)
    assert {data.name(f.row) for f in findings} == {"person-03"}
    assert len(findings) == EACH
    assert {others.name(f.other) for f in findings if f.other is not None} == {"ann"}


@pytest.mark.parametrize("sizes", [(1, 1), (1, 6), (2, 6), (6, 6)])
def test_two_names_of_one_person_are_as_severe_within_a_set_as_across_two(
    sizes: tuple[int, int],
) -> None:
    # Half way between the limits of centres and of single faces.
    apart = (LIMITS.one_centre + LIMITS.one_face) / 2 if 1 in sizes else LIMITS.one_centre / 2
    centres = np.zeros((2, DIMENSIONS), np.float32)
    centres[:, 0] = 1
    centres[1, :2] = 1 - apart**2 / 2, np.sqrt(1 - (1 - apart**2 / 2) ** 2)
    names = ["ann"] * sizes[0] + ["bob"] * sizes[1]
    both = replace(faces([0] * len(names), names), vectors=np.repeat(centres, sizes, axis=0))
    cores = find_cores(both, LIMITS.same)
    split, _ = labels.split_identities(both, cores, LIMITS, 10**6)
    limit = LIMITS.one_face if 1 in sizes else LIMITS.one_centre
    assert [f.severity for f in split] == pytest.approx([1 - apart / limit] * len(split), abs=1e-3)
    ann, bob = (_of_one_identity(both, rows) for rows in np.split(np.arange(len(both)), sizes[:1]))
    across = leaks.leaked_people(*ann, *bob, LIMITS, 10**6)
    assert {f.severity for f in split} == {f.severity for f in across} != set()


def _of_one_identity(data: Faces, rows: np.ndarray) -> tuple[Faces, Cores]:
    name = data.name(int(rows[0]))
    part = replace(faces([0] * len(rows), [name] * len(rows)), vectors=data.vectors[rows])
    return part, find_cores(part, LIMITS.same)


def test_centres_of_one_person_are_near_however_scattered() -> None:
    same = faces([1] * 60, ["a"] * 30 + ["b"] * 30)
    cores = find_cores(same, 1.3)
    assert labels.centre_distance(cores, 0, cores, 1) < 0.2
    assert float(distance(float(cores.means[0] @ cores.means[1]))) > 0.7


@pytest.mark.parametrize("exact", [10**6, 0])
def test_neighbours_are_those_of_numpy(exact: int) -> None:
    people = [person for person in range(40) for _ in range(50)]
    vectors = embeddings(people)
    products = vectors @ vectors.T
    np.fill_diagonal(products, -2)
    expected = np.argsort(-products, axis=1, kind="stable")[:, :5]
    near = nearest_others(vectors, 5, exact=exact)
    shared = [len({*a} & {*b}) / 5 for a, b in zip(near.rows, expected, strict=True)]
    assert np.mean(shared) > (0.999 if exact else 0.95)
    assert (near.rows != np.arange(len(vectors))[:, None]).all()


def test_fewer_vectors_than_neighbours_leave_places_empty() -> None:
    near = nearest(embeddings([1]), embeddings([1, 2]), 4)
    assert near.rows[0].tolist() == [0, 1, -1, -1]
    assert np.isneginf(near.products[0, 2:]).all()


def test_copies_are_found_changed_and_mirrored_and_others_are_not() -> None:
    images = [draw(person, 0, 80) for person in range(10)]
    images += [images[2][::2, ::2], np.ascontiguousarray(images[5][:, ::-1])]
    people = [*range(10), 2, 5]
    data = faces(people, [f"p{n}" for n in range(12)])
    data.vectors[10:] = data.vectors[[2, 5]]
    thumbnails = np.stack([thumbnail(image) for image in images])
    photographs = Photographs(thumbnails, np.full(12, "", object))
    copies = copies_within(data, photographs, CONFIG, LIMITS)
    assert {frozenset((c.first, c.second)) for c in copies} == {
        frozenset((2, 10)),
        frozenset((5, 11)),
    }
    assert {c.mirrored for c in copies if 5 in (c.first, c.second)} == {True}


@pytest.mark.parametrize(
    ("alike", "apart", "is_mirrored", "is_copy"),
    [
        (0.975, 0.3, False, True),
        (0.975, 1.2, False, False),  # two people, as far as embeddings say
        (0.985, 1.2, False, True),
        (0.95, 0.3, False, False),
        (0.95, 0.3, True, True),  # its landmarks are off, its embedding is not
        (0.95, 0.8, True, False),
    ],
)
def test_how_alike_copies_have_to_be_depends_on_their_embeddings(
    alike: float, apart: float, is_mirrored: bool, is_copy: bool
) -> None:
    least = duplicates._least_alike(CONFIG.duplicate_correlation, apart, is_mirrored, LIMITS)
    assert (alike >= least) == is_copy


def test_equal_files_are_copies_whatever_was_cropped_from_them() -> None:
    data = faces([1, 2, 3], ["a", "b", "c"])
    thumbnails = np.stack([thumbnail(draw(person, 0, 80)) for person in range(3)])
    photographs = Photographs(thumbnails, np.array(["x", "y", "x"], object))
    [copy] = copies_within(data, photographs, CONFIG, LIMITS)
    assert (copy.first, copy.second) == (0, 2)


def test_of_copies_the_one_without_another_finding_stays() -> None:
    data = faces([1, 1, 1], ["a", "b", "b"])
    copies = [Copy(0, 1, 0.99), Copy(1, 2, 0.99)]
    findings = duplicate_findings(data, copies, {0}, 0.97)
    assert {(f.row, f.other) for f in findings} == {(0, 1), (2, 1)}


def test_thumbnails_do_not_depend_on_the_margin_of_the_crop() -> None:
    photograph = draw(4, 0, 200)
    marks = [80, 85, 120, 85, 100, 105, 85, 125, 115, 125]
    small, large = (
        thumbnail(
            np.ascontiguousarray(
                photograph[
                    60 - margin // 2 : 140 + margin // 2, 60 - margin // 2 : 140 + margin // 2
                ]
            ),
            crop_to_face({"box": [60, 60, 140, 140], "landmarks": marks}, margin),
        )
        for margin in (10, 60)
    )
    assert correlation(small, large) > 0.98
    assert correlation(mirrored(small[None])[0], large) < 0.9


def test_cores_leave_out_what_is_not_like_the_others() -> None:
    people, names = clean()
    people[0] = 90
    cores: Cores = find_cores(faces(people, names), LIMITS.same)
    assert cores.sizes[0] == EACH - 1
    assert cores.cluster_of[0] == -1
    assert cores.typical[0] in range(1, EACH)
