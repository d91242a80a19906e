"""who is on a photograph

Each face of a photograph with the nearest faces among many that `facenet embed` has embedded:
names, Euclidean distances (of embeddings of unit length: 0 to 2), and whether they are one
person's: nearer than the threshold of the model's last validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ArtifactError
from facenet_core.text.printable import printable
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import whole
from flows.cli.output import echo, echo_error, echo_json

if TYPE_CHECKING:
    import numpy as np

    from facenet_core.alignment.faces import Face
    from facenet_core.recognition.gallery import Match

NAME = "find"
COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", metavar="PHOTOGRAPH", nargs="+", help="of any people")
    parser.add_argument(
        "--in",
        dest="gallery",
        required=True,
        metavar="EMBEDDINGS",
        help="a table of `facenet embed`, an artifact of embeddings, or newest:NAME",
    )
    embedding.add_model(parser, required=False)
    parser.add_argument(
        "--count", type=whole(ge=1), default=5, metavar="N", help="nearest of each face [5]"
    )
    embedding.add_threshold(parser)
    parser.add_argument(
        "--picture",
        type=common.ending_in(".png"),
        metavar="FILE",
        help="also write the faces and whom they are like as a PNG, with the crops of an artifact",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    embedding.check_model(options.model, options.engine)
    common.check_input("--in", options.gallery)
    embedding.check_photographs(options.photographs)


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.housekeeping.promotion import resolve
    from facenet_core.recognition import gallery, pictures
    from facenet_core.recognition.threshold import METRIC

    table = resolve(context.root, options.gallery, "embed")
    model = options.model or gallery.model_of(table, context.root)
    embedder = embedding.load_embedder(context, model, options.engine)
    embedder.set_params(threshold=options.threshold)
    rows: list[tuple[str, int, Face, list[Match]]] = []
    for photograph in options.photographs:
        for number, (face, matches) in enumerate(embedder.find(photograph, table, options.count)):
            rows.append((photograph, number, face, matches))
    picture = None
    if options.picture:
        picture = storage.absolute(options.picture)
        drawn = [(face.pixels, matches) for _, _, face, matches in rows]
        storage.write_bytes(picture, pictures.matches(drawn, _crops_of(table, drawn)))
    decision = embedder.decision
    if context.json:
        faces = [_as_json(*row) for row in rows]
        values = {"stage": "find", "metric": METRIC, "threshold": decision.distance}
        echo_json(values | {"report": decision.report, "picture": picture, "faces": faces})
        return
    for photograph, number, _, matches in rows:
        echo(f"{printable(photograph)}, face {number}")
        for match in matches:
            verdict = {True: "same person", False: "different", None: ""}[match.same]
            name = printable(match.identity or "(no name)")
            echo(f"  {match.distance:.3f}  {name}  {printable(match.image_id)}  {verdict}".rstrip())
    if decision.distance is None:
        echo(embedding.NO_THRESHOLD)
    if picture:
        echo(picture)


def _crops_of(
    table: str, drawn: Sequence[tuple[np.ndarray, Sequence[Match]]]
) -> dict[tuple[str, int], np.ndarray]:
    """The crops of the gallery's faces, where it is an artifact, which names them."""
    from facenet_core.embedding.artifact import find_embeddings, open_crops
    from facenet_core.embedding.crops import read_faces

    if (embeddings := find_embeddings(table)) is None:
        return {}
    try:
        crops = open_crops(embeddings)
    except ArtifactError as error:
        echo_error(f"the picture shows names alone: {error}")
        return {}
    near = {(match.image_id, match.face_index) for _, matches in drawn for match in matches}
    return read_faces(crops, near)


def _as_json(photograph: str, number: int, face: Face, matches: list[Match]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "photograph": photograph,
        "face_index": number,
        "box": [float(value) for value in face.box],
        "score": float(face.score),
        "matches": [asdict(match) for match in matches],
    }
