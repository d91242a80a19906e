"""train and use a classifier of known people

`train` takes photographs in folders by person, or a table of `facenet embed`, writes the classifier
and prints how well it does in cross-validation. `predict` names the people in other photographs, or
says `unknown`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.text.plural import plural
from facenet_core.text.printable import to_cell
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import real, whole
from flows.cli.output import echo, echo_error, echo_json

if TYPE_CHECKING:
    from facenet_core.recognition.classify import ClassifierSettings
    from facenet_core.recognition.tables import Faces

COMMON = common.ROOT
_WORST = 10  # people shown
# Options of one action alone, with their defaults.
_TRAIN = {
    "method": "svm",
    "neighbours": 5,
    "min_nrof_images_per_class": 1,
    "min_probability": 0.0,
    "max_distance": None,
}
_PREDICT = {"output": None, "detect_multiple_faces": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["train", "predict"])
    embedding.add_sources(parser, embedding.SOURCES_OR_TABLE)
    embedding.add_model(parser, required=False)
    embedding.add_every_face(parser)
    parser.add_argument(
        "--classifier",
        type=common.ending_in(".parquet"),
        default="classifier.parquet",
        metavar="FILE",
        help="train: where to; predict: which [classifier.parquet]",
    )
    parser.add_argument(
        "--output",
        type=common.ending_in(".csv", ".parquet"),
        metavar="FILE",
        help="predict: also write the answers, as .csv or .parquet",
    )
    group = parser.add_argument_group("train")
    group.add_argument(
        "--method",
        choices=["svm", "knn"],
        default=_TRAIN["method"],
        help="linear support vector machine, or nearest neighbours [svm]",
    )
    group.add_argument(
        "--neighbours",
        type=whole(ge=1),
        default=_TRAIN["neighbours"],
        metavar="K",
        help="of knn, at most [5]",
    )
    group.add_argument(
        "--min-nrof-images-per-class",
        type=whole(ge=1),
        default=_TRAIN["min_nrof_images_per_class"],
        metavar="N",
        help="people with fewer are left out [1]",
    )
    group.add_argument(
        "--min-probability",
        type=real(ge=0, le=1),
        default=_TRAIN["min_probability"],
        metavar="P",
        help="`unknown` below it [0]",
    )
    group.add_argument(
        "--max-distance",
        type=real(gt=0),
        metavar="DISTANCE",
        help="`unknown` where the person's nearest example is as far, as a Euclidean distance; "
        "default: what tells known people from strangers best in cross-validation",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    other, action = (_PREDICT, "predict") if options.action == "train" else (_TRAIN, "train")
    for name, default in other.items():
        if getattr(options, name) != default:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option}: goes with {action}, not {options.action}")
    embedding.check_model(options.model, options.engine)
    if options.action == "predict":
        common.check_path("--classifier", options.classifier)


def run(options: argparse.Namespace, context: Context) -> None:
    (_train if options.action == "train" else _predict)(options, context)


def _train(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.recognition import classify
    from facenet_core.recognition.threshold import METRIC

    # Others on a photograph of somebody's are not that person.
    faces = _faces(options, context, every_face=False)
    rows, left_out = classify.choose_examples(faces, options.min_nrof_images_per_class)
    examples = faces.take(rows)
    settings = classify.ClassifierSettings(
        options.method,
        options.neighbours,
        options.min_probability,
        options.max_distance,
        faces.model,
    )
    report = None
    if min(Counter(examples.identities).values(), default=0) > 1:
        validation = classify.cross_validate(examples, settings)
        if settings.max_distance is None:
            settings = replace(settings, max_distance=validation.best_distance())
        report = validation.report(settings)
    classifier = classify.FaceClassifier(examples.vectors, examples.identities, settings)
    uri = storage.absolute(options.classifier)
    classifier.save(uri)
    if context.json:
        counts = {"people": len(classifier.people), "faces": len(rows), "left_out": len(left_out)}
        values: dict[str, Any] = {"stage": "classify", "uri": uri, "counts": counts}
        values |= {"metric": METRIC, "max_distance": settings.max_distance}
        echo_json(values | {"cross_validation": report})
        return
    people = plural(len(classifier.people), "person", "people")
    echo(f"{people}, {plural(len(rows), 'face')}, {options.method}")
    if left_out:
        echo(f"Left out: {plural(len(left_out), 'person', 'people')} with too few photographs")
    if report is None:
        echo("No cross-validation: there are people with one face only")
    else:
        _print_report(report, settings)
    echo(uri)


def _print_report(report: dict[str, Any], settings: ClassifierSettings) -> None:
    echo(f"Cross-validation, {report['folds']} folds:")
    echo(f"  named correctly        {report['accuracy']:.4f}")
    echo(f"  … without `unknown`    {report['closed_accuracy']:.4f}")
    echo(f"  called `unknown`       {report['unknown']:.4f}")
    if report["strangers_rejected"] is not None:
        echo(f"  strangers rejected     {report['strangers_rejected']:.4f}")
    if settings.max_distance is not None:
        echo(f"`unknown` from a Euclidean distance of {settings.max_distance:.3f} on")
    ranked = sorted(report["people"].items(), key=lambda item: item[1][0] / item[1][1])
    worst = [(name, right, count) for name, (right, count) in ranked if right < count][:_WORST]
    if worst:
        listed = ", ".join(f"{name} {right}/{count}" for name, right, count in worst)
        echo(f"Worst: {listed}")


def _predict(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.recognition.classify import FaceClassifier
    from facenet_core.recognition.threshold import METRIC

    classifier = FaceClassifier.load(storage.absolute(options.classifier))
    faces = _faces(options, context, every_face=True)
    if faces.model and classifier.settings.model and faces.model != classifier.settings.model:
        raise ConfigError(
            f"{options.classifier}: made with the model {classifier.settings.model}, the faces are "
            f"embedded with {faces.model}; use the same model for both"
        )
    if faces.vectors.shape[1] != classifier.vectors.shape[1]:
        raise ConfigError(
            f"{options.classifier}: for embeddings of {classifier.vectors.shape[1]} dimensions, "
            f"these have {faces.vectors.shape[1]}; use the same model for both"
        )
    predictions = classifier.predict(faces.vectors)
    answers = [
        {
            "image_id": image_id,
            "face_index": int(face_index),
            "name": str(name),
            "nearest": str(nearest),
            "probability": round(float(probability), 6),
            "distance": round(float(distance), 6),
        }
        for image_id, face_index, name, nearest, probability, distance in zip(
            faces.image_ids,
            faces.face_indices,
            predictions.limited(classifier.settings),
            predictions.nearest,
            predictions.probabilities,
            predictions.distances,
            strict=True,
        )
    ]
    if options.output:
        _write(storage.absolute(options.output), answers)
    if context.json:
        echo_json({"stage": "classify", "metric": METRIC, "faces": answers})
        return
    several = any(answer["face_index"] for answer in answers)
    for answer in answers:
        sure = f"{answer['probability']:.3f}, Euclidean distance {answer['distance']:.3f}"
        hint = "" if answer["name"] == answer["nearest"] else f", nearest {answer['nearest']}"
        name = str(answer["image_id"]).replace("\t", " ").replace("\n", " ")
        if several:
            name += f", face {answer['face_index']}"
        echo(f"{name}\t{answer['name']}\t{sure}{hint}")


def _write(uri: str, answers: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    as_csv = uri.lower().endswith(".csv")
    if as_csv:
        answers = [
            {key: to_cell(value) if isinstance(value, str) else value for key, value in row.items()}
            for row in answers
        ]
    table = pa.Table.from_pylist(answers)
    with storage.new_file(uri) as path:
        (csv.write_csv if as_csv else parquet.write_table)(table, path)


def _faces(options: argparse.Namespace, context: Context, *, every_face: bool) -> Faces:
    """The faces with their embeddings: read from a table, or embedded now."""
    from facenet_core.recognition import tables
    from facenet_core.recognition.stream import Embedded

    if table := embedding.table_of(options.sources, options.model):
        return embedding.read_table(context, table, options.model, every_face=every_face)
    embedder = embedding.load_embedder(context, options.model, options.engine)
    faces, rejects = [], 0
    with embedding.embedding_progress() as report:
        for face in embedding.embed_sources(
            *(options.sources, embedder, context.root, options.aligned),
            every_face=options.detect_multiple_faces,
        ):
            if isinstance(face, Embedded):
                faces.append(face)
            else:
                rejects += 1
                echo_error(f"{face.image_id}: {face.reason}, {face.detail}")
            report(len(faces) + rejects, None)
    if not faces:
        raise ConfigError("no faces were found in the photographs")
    return tables.collect(faces, embedder.face_model.fingerprint)
