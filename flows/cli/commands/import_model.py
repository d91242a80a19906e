"""a model from elsewhere into a model artifact

Of TensorFlow 1 the folder as it was published (model-….meta, model-….ckpt-N.index and .data-…), its
.zip, or a frozen graph (.pb); of Keras 2 an .h5, with or without its configuration; of
facenet-pytorch a state dict as .pt, .pth or .safetensors. Local or in object storage. Neither
TensorFlow 1 nor PyTorch is needed, and nothing in the files is executed.
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

NAME = "import"
COMMON = common.ROOT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the model's folder or file")
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
        "2018 on, each image's own mean and deviation before; without a date fixed for "
        "facenet-pytorch's and deepface's Facenet512 only",
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
    from facenet_core.models.formats.weights import ImportOptions, import_model, plan_import

    started = time.monotonic()
    import_options = ImportOptions(
        options.image_size,
        options.use_fixed_image_standardization,
        options.moving_average,
        options.keep_classifier,
    )
    root = context.root
    plan = plan_import(root, options.path, import_options, options.name)
    manifest = storage.finished(plan)
    if manifest is None:
        storage.check_writable(root)
        manifest = import_model(plan, options.path, import_options, {})
    if context.json:
        values = {
            "stage": "import",
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
