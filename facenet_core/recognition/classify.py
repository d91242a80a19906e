"""A classifier over the embeddings of known people that answers `unknown` for strangers.

A trained classifier is kept as its examples and settings, a Parquet file, and fitted again when it
is loaded: that takes seconds, gives the same classifier, and nothing has to be unpickled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.recognition.tables import Faces
from facenet_core.storage import parquet

UNKNOWN = "unknown"
_SETTINGS = b"facenet:classifier"
_FORMAT = 1
_EXAMPLES = pa.schema([("identity", pa.string()), ("embedding", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class ClassifierSettings:
    """What a classifier is.

    Attributes:
        method: a linear support vector machine, one against the others, with Platt's
            probabilities; or the vote of the nearest neighbours.
        neighbours: of `knn`, at most.
        min_probability: below it a face is `unknown`.
        max_distance: so far or farther from the nearest example of the person, as a Euclidean
            distance of embeddings of unit length, a face is `unknown`; None: no limit.
        model: fingerprint of the model that made the embeddings.
    """

    method: Literal["svm", "knn"] = "svm"
    neighbours: int = 5
    min_probability: float = 0.0
    max_distance: float | None = None
    model: str = ""


@dataclass(frozen=True)
class Prediction:
    """Of n faces: the likeliest of the known people, how likely, and the Euclidean distance of
    this person's nearest example."""

    nearest: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray

    def limited(self, settings: ClassifierSettings) -> np.ndarray:
        """The names, `unknown` where a limit of the settings says that it is nobody known."""
        accepted = self.probabilities >= settings.min_probability
        if settings.max_distance is not None:
            accepted &= self.distances < settings.max_distance
        return np.where(accepted, self.nearest, UNKNOWN)


class FaceClassifier:
    """A classifier fitted to embeddings.

    Args:
        vectors: float32 [n, d] of unit length.
        identities: n names, of two people or more; for `svm` two faces or more of each.

    Raises:
        ConfigError: too few people or faces.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        identities: Sequence[str] | np.ndarray,
        settings: ClassifierSettings,
    ) -> None:
        self.settings = settings
        self.vectors = np.asarray(vectors, np.float32)
        self.identities = np.asarray(identities, object)
        fewest = _require_examples(self.identities, settings.method)
        self.people, self._labels = np.unique(self.identities, return_inverse=True)
        self._model = _estimator(settings, len(self.vectors), fewest)
        self._model.fit(self.vectors, self._labels)

    def predict(self, vectors: np.ndarray) -> Prediction:
        """Who is on the faces, embeddings float32 [n, d]."""
        if not len(vectors):
            return Prediction(np.empty(0, object), np.empty(0), np.empty(0))
        probabilities = self._model.predict_proba(vectors)
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best]
        return Prediction(self.people[best], sure, self._distances(vectors, best))

    def _distances(self, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Of each face from the nearest example of its person."""
        result = np.empty(len(vectors))
        for label in np.unique(labels):
            rows = labels == label
            cosines = vectors[rows] @ self.vectors[self._labels == label].T
            result[rows] = np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1), 0))
        return result

    def save(self, uri: str) -> None:
        """Write examples and settings as Parquet."""
        settings = json.dumps({"format": _FORMAT, **asdict(self.settings)})
        schema = _EXAMPLES.with_metadata({_SETTINGS: settings.encode()})
        offsets = np.arange(len(self.vectors) + 1, dtype=np.int32) * self.vectors.shape[1]
        lists = pa.ListArray.from_arrays(offsets, pa.array(self.vectors.ravel()))
        table = pa.table([pa.array(list(self.identities), pa.string()), lists], schema=schema)
        parquet.write_table(uri, table, self.settings.model)

    @classmethod
    def load(cls, uri: str) -> FaceClassifier:
        """A classifier that `save` wrote, fitted again.

        Raises:
            ArtifactError: it is missing, damaged, or something else.
        """
        if storage.size(uri) is None:
            raise ArtifactError(f"{uri}: no such classifier; `facenet classify train` makes one")
        table = parquet.read_table(uri)
        try:
            settings = json.loads((table.schema.metadata or {})[_SETTINGS])
            if settings.pop("format") != _FORMAT:
                raise ArtifactError(f"{uri}: of another version; train the classifier again")
            lists = table["embedding"].combine_chunks()
            vectors = np.asarray(lists.flatten(), np.float32).reshape(len(table), -1)
            return cls(vectors, table["identity"].to_pylist(), ClassifierSettings(**settings))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{uri}: not a classifier of `facenet classify train` ({error!r})"
            ) from None


def choose_examples(faces: Faces, min_images: int) -> tuple[np.ndarray, list[str]]:
    """Rows of the faces of people with so many images or more, and who was left out.

    Raises:
        ConfigError: the faces have no names.
    """
    counts = Counter(faces.identities)
    if not any(counts):
        raise ConfigError(
            "the photographs are of nobody: expected folders by person, Name/Name_0001.jpg"
        )
    left_out = sorted(name for name, count in counts.items() if not name or count < min_images)
    few = set(left_out)
    rows = [row for row, name in enumerate(faces.identities) if name not in few]
    return np.array(rows, int), left_out


@dataclass(frozen=True)
class CrossValidation:
    """What classifiers said of faces that they were not trained on.

    Attributes:
        names: of n faces, who is on them.
        known: with every person known: folds of the faces, stratified by person.
        strangers: folds of the people, those of a fold unknown to the classifier; None with fewer
            than four people.
        folds: how many.
    """

    names: np.ndarray
    known: Prediction
    strangers: Prediction | None
    folds: int

    def best_distance(self) -> float | None:
        """The `max_distance` that tells known people from strangers best, both weighing the same.

        None without strangers to tell.
        """
        if self.strangers is None:
            return None
        of_known, strangers = np.sort(self.known.distances), np.sort(self.strangers.distances)
        limits = np.concatenate([of_known, strangers])
        accepted = np.searchsorted(of_known, limits) / len(of_known)
        rejected = 1 - np.searchsorted(strangers, limits) / len(strangers)
        return float(limits[np.argmax(accepted + rejected)])

    def report(self, settings: ClassifierSettings) -> dict[str, Any]:
        """Metrics of a classifier with these limits.

        Returns:
            `accuracy` (of the names given, `unknown` is wrong), `closed_accuracy` (of the best
            known person, whatever the limits), `unknown` (share of known people taken for
            strangers), `strangers_rejected` (share of strangers seen as such, or None), `folds`,
            and `people` {name: [right, faces]}.
        """
        names = self.known.limited(settings)
        right = Counter(self.names[names == self.names])
        people = sorted(Counter(self.names).items())
        rejected = None
        if self.strangers is not None:
            rejected = float(np.mean(self.strangers.limited(settings) == UNKNOWN))
        return {
            "accuracy": float(np.mean(names == self.names)),
            "closed_accuracy": float(np.mean(self.known.nearest == self.names)),
            "unknown": float(np.mean(names == UNKNOWN)),
            "strangers_rejected": rejected,
            "folds": self.folds,
            "people": {name: [right[name], count] for name, count in people},
        }


def cross_validate(faces: Faces, settings: ClassifierSettings, folds: int = 5) -> CrossValidation:
    """Train on all folds but one, ask about that one; see `CrossValidation`.

    Raises:
        ConfigError: there are people with one face only.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    vectors, names = faces.vectors, np.asarray(faces.identities, object)
    folds = min(folds, min(Counter(names).values()))
    if folds < 2:
        raise ConfigError("cross-validation needs two faces or more of each person")
    shuffled = StratifiedKFold(folds, shuffle=True, random_state=0)
    of_known = _out_of_fold(vectors, names, settings, shuffled.split(vectors, names))
    strangers = None
    if (people := len(set(names))) >= 4:
        by_person = GroupKFold(min(5, people // 2)).split(vectors, groups=names)
        strangers = _out_of_fold(vectors, names, settings, by_person)
    return CrossValidation(names, of_known, strangers, folds)


def _out_of_fold(
    vectors: np.ndarray, names: np.ndarray, settings: ClassifierSettings, splits: Iterable[Any]
) -> Prediction:
    """The predictions for each face by the classifier that has not seen its fold."""
    nearest = names.copy()
    probabilities, distances = np.empty(len(names)), np.empty(len(names))
    for train, test in splits:
        prediction = _fit_known(vectors[train], names[train], settings).predict(vectors[test])
        nearest[test] = prediction.nearest
        probabilities[test], distances[test] = prediction.probabilities, prediction.distances
    return Prediction(nearest, probabilities, distances)


def _fit_known(
    vectors: np.ndarray, names: np.ndarray, settings: ClassifierSettings
) -> FaceClassifier:
    """Of what a fold leaves; a person of whom one face is left takes part by that one."""
    counts = Counter(names)
    if settings.method == "svm" and min(counts.values()) < 2:
        single = [row for row, name in enumerate(names) if counts[name] < 2]
        vectors = np.concatenate([vectors, vectors[single]])
        names = np.concatenate([names, names[single]])
    return FaceClassifier(vectors, names, settings)


def _require_examples(identities: np.ndarray, method: str) -> int:
    counts = Counter(identities)
    if len(counts) < 2:
        raise ConfigError(f"a classifier needs two people or more, there are {len(counts)}")
    name, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    if method == "svm" and fewest < 2:
        raise ConfigError(
            f"svm needs two faces or more of each person, of {name} there is one; leave such "
            "people out with --min-nrof-images-per-class 2, or take --method knn"
        )
    return fewest


def _estimator(settings: ClassifierSettings, examples: int, fewest: int) -> Any:
    if settings.method == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        neighbours = min(settings.neighbours, examples)
        return KNeighborsClassifier(neighbours, weights="distance")
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import LinearSVC

    folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=0)
    return CalibratedClassifierCV(LinearSVC(random_state=0), cv=folds, ensemble=False)
