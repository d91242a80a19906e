"""a model from elsewhere into a model artifact

Of TensorFlow 1 the folder as it was published (model-….meta, model-….ckpt-N.index and .data-…), its
.zip, or a frozen graph (.pb); of Keras 2 an .h5, with or without its configuration; of
facenet-pytorch a state dict as .pt, .pth or .safetensors; an embedding network of any project as
.onnx. Local or in object storage. Neither TensorFlow 1 nor PyTorch is needed, and nothing in the
files is executed.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.extras import require_keras
from facenet_core.models.formats import files
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import whole
from flows.cli.output import echo, echo_json

NAME = "import"
COMMON = common.ROOT
_OF_WEIGHTS: tuple[str, ...] = (
    "use_fixed_image_standardization",
    "moving_average",
    "keep_classifier",
)
_OF_ONNX = ("preset", "mean", "deviation", "color", "crop", "margin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the model's folder or file")
    parser.add_argument("--name", metavar="NAME", help="of the model; default: from the files")
    parser.add_argument(
        "--image-size",
        type=whole(ge=1),
        metavar="SIZE",
        help="side of the network's input, pixels [160; of an .onnx what its graph says]",
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
        help="take the moving averages of the weights where the checkpoint has them [yes]",
    )
    parser.add_argument(
        "--keep-classifier",
        action="store_true",
        default=None,
        help="also keep the softmax classifier over the training's people, as classifier.npz",
    )
    onnx = parser.add_argument_group("of an .onnx")
    onnx.add_argument(
        "--preset",
        choices=["arcface", "facenet", "facenet-2017"],
        help="how pixels are standardised and faces cropped for it; the options below override it",
    )
    onnx.add_argument(
        "--mean",
        type=_channels,
        metavar="X[,X,X]",
        help="of pixels 0 to 255, for all channels or each: (x − mean)/deviation",
    )
    onnx.add_argument("--deviation", type=_channels, metavar="X[,X,X]", help="see --mean")
    onnx.add_argument("--color", choices=["RGB", "BGR"], help="order of the channels [RGB]")
    onnx.add_argument("--crop", choices=["original", "similarity"], help="see facenet align")
    onnx.add_argument("--margin", type=whole(ge=0), metavar="PIXELS", help="see facenet align")


def _channels(text: str) -> tuple[float, float, float]:
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected one number or three, with commas")
    red, green, blue = numbers
    return red, green, blue


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    common.check_path("PATH", options.path)
    is_onnx = files.is_onnx(options.path)
    if not is_onnx:
        require_keras("Importing a model's weights")
    for name in _OF_WEIGHTS if is_onnx else _OF_ONNX:
        if getattr(options, name) is not None:
            kind = "not for an .onnx" if is_onnx else "only for an .onnx"
            raise ConfigError(f"--{name.replace('_', '-')} is {kind}: {options.path}")
    if (options.mean is None) != (options.deviation is None):
        raise ConfigError("--mean and --deviation: give both or none")


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.models.face_model import FaceModel
    from facenet_core.models.formats import onnx, weights

    started = time.monotonic()
    root, path = context.root, options.path
    importer: Any = weights
    kind: Any = weights.ImportOptions
    names = _OF_WEIGHTS
    if files.is_onnx(path):
        importer, kind, names = onnx, onnx.OnnxOptions, _OF_ONNX
    settings = {name: getattr(options, name) for name in ("image_size", *names)}
    import_options = kind(**{name: v for name, v in settings.items() if v is not None})
    plan = importer.plan_import(root, path, import_options, options.name)
    manifest = storage.finished(plan)
    if manifest is None:
        storage.check_writable(root)
        manifest = importer.import_model(plan, path, import_options, {})
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
    details, model = manifest.details, FaceModel.load(plan.uri)
    variables = "".join(f"{count:,} variables, " for count in manifest.counts.values())
    echo(
        f"{details['model_def']}: {variables}{details['parameters']:,} values, embeddings of "
        f"{model.embedding_size} dimensions"
    )
    echo(f"It takes crops of {model.image_size} pixels, standardised: {model.standardization}")
    echo(plan.uri)
