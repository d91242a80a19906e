"""Images under the wrong name, identities of two people, people under two names, and no faces.

Identities are compared by their cores. The squared distance between the centres of two cores is the
mean squared distance between their faces, less that within each: it is near 0 for one person,
however much their photographs differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facenet_core.audit.faces import NOBODY, Faces
from facenet_core.audit.findings import Finding, Limits, severity
from facenet_core.audit.identities import Cores, distance, to_own_core
from facenet_core.audit.neighbours import nearest

# A core of fewer faces does not tell well where its person's centre lies.
FEW = 3
# A smaller cluster is no second person: bad photographs of one person are like one another, too.
_SECOND_PERSON = 5
# Candidates among the other cores; the nearest ones may be the own one and its twins.
CANDIDATES = 4
_BLOCK = 65_536
# MTCNN's score of what passes for a face and is none lies below this; most faces' lies above.
_SURE_FACE = 0.99


def split_identities(
    faces: Faces, cores: Cores, limits: Limits, exact: int
) -> tuple[list[Finding], np.ndarray]:
    """People under two names: findings of all images of the smaller identity.

    Returns:
        The findings, and int64 [identities], a number that identities of one person share.
    """
    person_of = np.arange(len(faces.names))
    near = nearest(cores.means, cores.means, CANDIDATES, exact=exact)
    pairs = []
    for first, seconds in enumerate(near.rows):
        for second in map(int, seconds[seconds >= 0]):
            if second != first and same_person(cores, first, cores, second, limits):
                pairs.append((first, second))
    for first, second in pairs:  # of those that belong together, the largest core's number
        both = np.isin(person_of, (person_of[first], person_of[second]))
        members = np.flatnonzero(both)
        person_of[both] = members[np.argmax(cores.sizes[members])]
    findings = []
    for number in np.flatnonzero(person_of != np.arange(len(person_of))):
        other = int(person_of[number])
        apart, limit = deciding_distance(cores, int(number), cores, other, limits)
        beyond = severity(limit - apart, limit)
        reason = f"{faces.names[number]} and {faces.names[other]} are one person"
        findings += [
            Finding("split_identity", int(row), int(cores.typical[other]), apart, beyond, reason)
            for row in faces.by_identity[number]
            if cores.cluster_of[row] == 0
        ]
    return findings, person_of


def deciding_distance(
    a: Cores, first: int, b: Cores, second: int, limits: Limits
) -> tuple[float, float]:
    """The distance that decides whether two cores are of one person, and its limit.

    It is that of their centres, or, where one of them has a single face, that of their faces: one
    face does not tell where its person's centre lies.
    """
    if min(a.sizes[first], b.sizes[second]) == 1:
        return face_distance(a, first, b, second), limits.one_face
    return centre_distance(a, first, b, second), limits.one_centre


def face_distance(a: Cores, first: int, b: Cores, second: int) -> float:
    """Root mean square distance between the faces of two cores."""
    return float(distance(float(a.means[first].astype(float) @ b.means[second])))


def centre_distance(a: Cores, first: int, b: Cores, second: int) -> float:
    """Euclidean distance between the centres of two cores; what chance adds is taken off."""
    between = 2 - 2 * float(a.means[first].astype(float) @ b.means[second])
    return float(np.sqrt(max(between - (_within(a, first) + _within(b, second)) / 2, 0.0)))


def same_person(a: Cores, first: int, b: Cores, second: int, limits: Limits) -> bool:
    """Whether two cores are of one person."""
    apart, limit = deciding_distance(a, first, b, second, limits)
    fewest = min(a.sizes[first], b.sizes[second])
    near = limits.few_faces if fewest < FEW else limits.far
    return apart < limit and face_distance(a, first, b, second) < near


def _within(cores: Cores, number: int) -> float:
    """Mean squared distance between two faces of a core."""
    size = float(cores.sizes[number])
    squared = float((cores.means[number].astype(float) ** 2).sum())
    return 2 - 2 * (size * squared - 1) / (size - 1) if size > 1 else 0.0


def wrong_images(
    faces: Faces, cores: Cores, limits: Limits, person_of: np.ndarray, exact: int
) -> list[Finding]:
    """Wrong labels, second people of identities, and what is no face."""
    findings: list[Finding] = []
    second = _to_second_people(faces, cores, limits)
    for start in range(0, len(faces), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(faces)))
        rows = rows[faces.identities[rows] != NOBODY]
        own = to_own_core(faces, cores, rows)
        others, other = _nearest_other(faces, cores, rows, person_of, exact)
        is_second = second[rows] < own - limits.margin / 2
        out = (own > limits.far) | (own - other > limits.margin) | is_second
        for at in np.flatnonzero(out):
            row = int(rows[at])
            is_anothers = other[at] < limits.anothers
            namesakes = faces.by_identity[int(faces.identities[row])]
            if not (is_second[at] or is_anothers) and _is_like_two(faces, row, namesakes, limits):
                continue
            distances = (float(own[at]), float(other[at]), float(second[row]))
            findings.append(_judge(faces, cores, limits, row, int(others[at]), distances))
    return findings


def _is_like_two(faces: Faces, row: int, namesakes: np.ndarray, limits: Limits) -> bool:
    """Whether two other photographs of its identity are nearer than the threshold.

    Then it is a hard photograph of that person (a profile, sunglasses, another age), which is as
    far from the core as a stranger's.
    """
    near = np.asarray(faces.vectors[namesakes[namesakes != row]]) @ faces.vectors[row]
    return len(near) > 1 and bool(distance(np.partition(near, -2)[-2]) < limits.same)


def _judge(
    faces: Faces,
    cores: Cores,
    limits: Limits,
    row: int,
    owner: int,
    distances: tuple[float, float, float],
) -> Finding:
    """What is wrong with an image that is not of its identity.

    Args:
        owner: the nearest other person.
        distances: to its own identity, to the owner, and to a second person under its identity.
    """
    own, other, second = distances
    number = int(faces.identities[row])
    name, typical = faces.names[number], _typical_besides(faces, cores, row)
    if own - other > limits.margin and other < second:
        reason = (
            f"filed under {name} ({own:.2f} away), looks like {faces.names[owner]} "
            f"({other:.2f} away)"
        )
        beyond = severity(own - other, 2 * limits.margin)
        return Finding("wrong_label", row, int(cores.typical[owner]), other, beyond, reason)
    if second < own - limits.margin / 2:
        reason = f"{name} is two people: {own:.2f} away from the one, {second:.2f} from the other"
        beyond = severity(own - second, 2 * limits.margin)
        return Finding("mixed_identity", row, typical, own, beyond, reason)
    beyond = severity(own - limits.same, 2 * limits.margin)
    if other > limits.same and faces.scores[row] < _SURE_FACE:
        nearest_person = min(own, other)
        reason = (
            f"like nobody ({nearest_person:.2f} away from the nearest person), and the detector's "
            f"score is {faces.scores[row]:.3f}"
        )
        return Finding("no_face", row, typical, nearest_person, beyond, reason)
    reason = f"not like the others under {name} ({own:.2f} away), nor like anybody else"
    return Finding("wrong_label", row, typical, own, beyond, reason)


def _typical_besides(faces: Faces, cores: Cores, row: int) -> int | None:
    """The face nearest to the core of this one's identity, apart from itself; None: it has none."""
    number = faces.identities[row]
    if cores.typical[number] != row:
        return int(cores.typical[number])
    own = (faces.identities == number) & (cores.cluster_of == 0)
    own[row] = False
    rows = np.flatnonzero(own)
    return int(rows[np.argmax(faces.vectors[rows] @ cores.means[number])]) if len(rows) else None


def _nearest_other(
    faces: Faces, cores: Cores, rows: np.ndarray, person_of: np.ndarray, exact: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest core of another person for each face, and its distance."""
    near = nearest(faces.vectors[rows], cores.means, CANDIDATES, exact=exact)
    own = person_of[faces.identities[rows]][:, None]
    absent = (near.rows < 0) | (person_of[np.maximum(near.rows, 0)] == own)
    products = np.where(absent, -np.inf, near.products)
    best = products.argmax(axis=1)[:, None]
    numbers = np.take_along_axis(near.rows, best, axis=1)[:, 0]
    product = np.take_along_axis(products, best, axis=1)[:, 0]
    return numbers, np.where(np.isfinite(product), distance(np.maximum(product, -1)), np.inf)


def _to_second_people(faces: Faces, cores: Cores, limits: Limits) -> np.ndarray:
    """Float32 [faces], distance to the second person under their identity; ∞ where there is none.

    That is the largest cluster beside the core which lies as far from it as another person.
    """
    result = np.full(len(faces), np.inf, np.float32)
    for number, rows in _with_clusters(faces, cores):
        labels, vectors = cores.cluster_of[rows], np.asarray(faces.vectors[rows])
        for label in range(1, int(labels.max()) + 1):
            if (labels == label).sum() < _SECOND_PERSON:
                break
            mean = vectors[labels == label].mean(axis=0)
            if distance(float(mean @ cores.means[number])) > limits.two_people:
                result[rows] = distance(vectors @ mean)
                break
    return result


def _with_clusters(faces: Faces, cores: Cores) -> Iterator[tuple[int, np.ndarray]]:
    clustered = np.unique(faces.identities[cores.cluster_of > 0])
    for number in clustered[clustered != NOBODY]:
        yield int(number), faces.by_identity[number]
