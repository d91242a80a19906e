"""which photographs show the same person

Euclidean distances of all photographs from one another (of embeddings of unit length: 0 to 2), and
for each pair whether it is one person's: nearer than the threshold of the model's last validation.
A picture shows crops and distances.
"""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.text.printable import printable
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import console, echo, echo_json

if TYPE_CHECKING:
    import numpy as np

    from facenet_core.recognition.threshold import Threshold

COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", metavar="PHOTOGRAPH", nargs="+", help="two or more")
    embedding.add_model(parser)
    embedding.add_threshold(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="the line of VAL@FAR instead, below which hardly any two people are taken for one",
    )
    parser.add_argument(
        "--picture",
        type=common.ending_in(".png"),
        metavar="FILE",
        help="also write crops and distances as a PNG",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    if len(options.photographs) < 2:
        raise ConfigError("compare: give two photographs or more")
    embedding.check_model(options.model, options.engine)
    embedding.check_photographs(options.photographs)


def run(options: argparse.Namespace, context: Context) -> None:
    import numpy as np

    from facenet_core.recognition import pictures
    from facenet_core.recognition.threshold import METRIC

    photographs = options.photographs
    embedder = embedding.load_embedder(context, options.model, options.engine)
    embedder.set_params(threshold=options.threshold)
    crops = [face.pixels for face in embedder.first_faces(photographs)]
    distances = embedder.distances_of(np.stack(crops))
    decision = embedder.decision
    if options.strict:
        if decision.strict is None:
            raise ConfigError("compare: --strict needs a validation of the model; there is none")
        decision = replace(decision, distance=decision.strict)
    picture = None
    if options.picture:
        picture = storage.absolute(options.picture)
        image = pictures.matrix(crops, photographs, distances, decision.distance)
        storage.write_bytes(picture, image)
    if context.json:
        pairs = [
            {
                "a": photographs[a],
                "b": photographs[b],
                "distance": float(distances[a, b]),
                "same": decision.same(distances[a, b]),
            }
            for a in range(len(photographs))
            for b in range(a + 1, len(photographs))
        ]
        values = {
            "stage": "compare",
            "metric": METRIC,
            "threshold": decision.distance,
            "report": decision.report,
            "picture": picture,
            "pairs": pairs,
        }
        echo_json(values)
        return
    _print(photographs, distances, decision)
    if picture:
        echo(picture)


def _print(photographs: Sequence[str], distances: np.ndarray, decision: Threshold) -> None:
    from rich.table import Table
    from rich.text import Text

    names = [printable(posixpath.basename(photograph)) for photograph in photographs]
    table = Table("", title="Euclidean distances")
    for number in range(1, len(names) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for row, name in enumerate(names):
        cells = []
        for column in range(len(names)):
            distance = float(distances[row, column])
            if row == column:
                cells.append(Text("·", style="dim"))
            elif decision.distance is None:
                cells.append(Text(f"{distance:.3f}"))
            elif distance < decision.distance:
                cells.append(Text(f"{distance:.3f}", style="bold green"))
            else:
                cells.append(Text(f"{distance:.3f}"))
        table.add_row(Text(f"{row + 1} {name}"), *cells)
    console().print(table)
    alike = [
        f"{names[a]} and {names[b]}"
        for a in range(len(names))
        for b in range(a + 1, len(names))
        if decision.same(distances[a, b])
    ]
    if decision.distance is not None:
        echo("\n".join(f"Same person: {pair}" for pair in alike) or "No two of the same person.")
    if decision.distance is None:
        echo(embedding.NO_THRESHOLD)
    else:
        origin = f"from {decision.report}" if decision.report else "as given"
        echo(f"The line is drawn at a Euclidean distance of {decision.distance:.4f}, {origin}")
