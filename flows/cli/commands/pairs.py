"""draw pairs for verification from any crops

Balanced, in folds that share no people, the same for the same seed. They are written as .csv,
.parquet or .txt (LFW's format, where the names allow it), for `facenet validate --pairs`.
"""

from __future__ import annotations

import argparse

from facenet_core import storage
from facenet_core.text.plural import plural
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import whole
from flows.cli.output import echo, echo_json

COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The crops, how many pairs, and where to."""
    parser.add_argument("crops", metavar="CROPS", help="URI of a crops artifact, or newest:NAME")
    parser.add_argument("--folds", type=whole(ge=2), default=10, metavar="N", help="folds [10]")
    parser.add_argument(
        "--per-fold",
        type=whole(ge=1),
        default=300,
        metavar="N",
        help="pairs of one person, and again of two, in each fold [300]",
    )
    parser.add_argument(
        "--seed", type=whole(ge=0, le=2**32 - 1), default=0, metavar="N", help="seed [0]"
    )
    parser.add_argument(
        "--output",
        type=common.ending_in(".csv", ".parquet", ".txt"),
        default="pairs.csv",
        metavar="FILE",
        help="where to: .csv, .parquet or .txt [pairs.csv]",
    )


def run(options: argparse.Namespace, context: Context) -> None:
    """Draw and write them; prints where they are."""
    from facenet_core.datasets.pairs import files, generate
    from facenet_core.evaluation.evaluated_pairs import faces
    from facenet_core.housekeeping.promotion import resolve

    crops = storage.absolute(resolve(context.root, options.crops, "align"))
    artifact = storage.open_artifact(crops, "align")
    identity_of = dict(faces(artifact))
    drawn = generate.generate(identity_of, options.folds, options.per_fold, options.seed)
    files.write(drawn, options.output)
    uri = storage.absolute(options.output)
    if context.json:
        counts = {"pairs": len(drawn), "folds": drawn.nrof_folds}
        echo_json({"uri": uri, "counts": counts})
        return
    ids = {*drawn.image_id_a, *drawn.image_id_b}
    people = {identity_of[image_id] for image_id in ids}
    echo(
        f"{plural(len(drawn), 'pair')} in {plural(drawn.nrof_folds, 'fold')}, "
        f"of {plural(len(ids), 'image')} of {plural(len(people), 'person', 'people')}"
    )
    echo(uri)
