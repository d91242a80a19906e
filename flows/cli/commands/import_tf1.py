"""a model from TensorFlow 1 into a model artifact

The folder as it was published (model-….meta, model-….ckpt-N.index and .data-…) or a frozen graph
(.pb), local or in object storage. TensorFlow 1 is not needed, and nothing in the files is executed.
"""

from __future__ import annotations

import argparse
import time

from facenet_core import storage
from facenet_core.config import PipelineConfig
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import whole
from flows.cli.output import echo, echo_json

COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the model's folder, or its .pb")
    parser.add_argument("--name", metavar="NAME", help="of the model; default: from the files")
    parser.add_argument(
        "--image-size",
        type=whole(ge=1),
        default=160,
        metavar="SIZE",
        help="side of the network's input, pixels [160]",
    )
    parser.add_argument(
        "--use-fixed-image-standardization",
        action=argparse.BooleanOptionalAction,
        help="whether the model was trained with it; default: by the date in its name, fixed from "
        "2018 on, each image's own mean and deviation before and where there is no date",
    )
    parser.add_argument(
        "--moving-average",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take the moving averages of the weights where the checkpoint has them [yes]",
    )
    parser.add_argument(
        "--keep-classifier",
        action="store_true",
        help="also keep the softmax classifier over the training's people, as classifier.npz",
    )


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    common.check_path("PATH", options.path)


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.models.formats.tf1 import Tf1Options, import_model, plan_import

    started = time.monotonic()
    tf1_options = Tf1Options(
        options.image_size,
        options.use_fixed_image_standardization,
        options.moving_average,
        options.keep_classifier,
    )
    root = context.root
    plan = plan_import(root, options.path, tf1_options, options.name)
    manifest = storage.finished(plan)
    if manifest is None:
        storage.check_writable(root)
        manifest = import_model(plan, options.path, tf1_options, {})
    if context.json:
        values = {
            "stage": "import-tf1",
            "uri": plan.uri,
            "fingerprint": plan.fingerprint,
            "seconds": round(time.monotonic() - started, 3),
            "counts": manifest.counts,
            **{key: value for key, value in manifest.details.items() if key != "imported_from"},
        }
        echo_json(values)
        return
    details = manifest.details
    fixed = details["use_fixed_image_standardization"]
    echo(
        f"{details['model_def']}: {manifest.counts['variables']} variables, "
        f"{details['parameters']:,} values, embeddings of {details['embedding_size']} dimensions"
    )
    echo(
        f"It takes crops of {details['image_size']} pixels, standardised "
        + ("by fixed numbers: (x − 127.5)/128" if fixed else "one by one, by their own deviation")
    )
    echo(plan.uri)
