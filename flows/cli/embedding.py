"""What the commands share that use a model on photographs: arguments, the model, and the faces."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from facenet_core.config.validate import Precision
from facenet_core.errors import ConfigError
from facenet_core.models.runtimes import ENGINES, check_engine
from flows.cli.context import Context
from flows.cli.options import check_input, check_path, real
from flows.cli.output import echo_error, progress_bar

if TYPE_CHECKING:
    from facenet_core.progress import Progress
    from facenet_core.recognition.embedder import FaceEmbedder
    from facenet_core.recognition.stream import Embedded, Rejected
    from facenet_core.recognition.tables import Faces

SOURCES = "photographs, folders or archives of them, Parquet, raw or crops artifacts"
SOURCES_OR_TABLE = f"{SOURCES}, or embeddings: an artifact or table of `facenet embed`"
MODEL = (
    "name of a published model (`facenet models`), URI of a model artifact, newest:NAME, "
    "promoted:NAME, or a model from elsewhere: .keras, .onnx, TensorFlow 1 (folder, .zip or .pb), "
    ".h5, .pt, .pth, .safetensors"
)

NO_THRESHOLD = (
    "No threshold: this model was not validated here. `facenet validate` finds one, --threshold "
    "sets one."
)


def add_model(parser: argparse.ArgumentParser, required: bool = True, engine: bool = True) -> None:
    """Add the model and its runtime, which for a stage is a field of its configuration."""
    parser.add_argument("--model", required=required, metavar="MODEL", help=MODEL)
    if not engine:
        return
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what runs the model; auto: OpenVINO where it is installed [auto]",
    )


def add_sources(parser: argparse.ArgumentParser, help: str = SOURCES) -> None:
    """Add the photographs, and whether they are crops already."""
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=help)
    parser.add_argument(
        "--aligned",
        action="store_true",
        help="SOURCE holds cropped faces already: no detection",
    )


def add_every_face(parser: argparse.ArgumentParser) -> None:
    """Add whether a photograph is of one person or of all that are on it."""
    parser.add_argument(
        "--detect-multiple-faces",
        action="store_true",
        help="every face; default: the large, central one",
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add the distance below which two faces are one person's."""
    parser.add_argument(
        "--threshold",
        type=real(gt=0),
        metavar="DISTANCE",
        help="Euclidean distances below it are one person's; default: that of the model's last "
        "validation",
    )


def check_photographs(photographs: Sequence[str]) -> None:
    """Raises ConfigError for a path where nothing is."""
    for photograph in photographs:
        check_path("PHOTOGRAPH", photograph)


def check_model_name(name: str, model: str) -> None:
    """Raises ConfigError or ModelError for a path that does not exist, or a name nearly right."""
    from facenet_core.models import catalogue

    check_input(name, model)
    catalogue.find(model)


def check_model(
    model: str | None, engine: str = "auto", precision: Precision | None = None
) -> None:
    """Check what can be checked of a model and its runtime without loading them.

    Raises:
        ConfigError: the model is a path that does not exist, or the runtime is not installed.
    """
    if model:
        check_model_name("--model", model)
    check_engine(engine, precision)


def table_of(sources: Sequence[str], model: str | None) -> str | None:
    """The artifact or table of `facenet embed` that is the source; None where photographs are.

    Raises:
        ConfigError: a table beside other sources, or photographs without a model.
    """
    from facenet_core.recognition import tables

    found_tables = [source for source in sources if tables.is_table(source)]
    if found_tables and len(sources) > 1:
        raise ConfigError(f"{found_tables[0]}: a table of embeddings; name it alone")
    if not found_tables and not model:
        raise ConfigError("--model is needed to embed photographs")
    return found_tables[0] if found_tables else None


def read_table(
    context: Context, table: str, model: str | None, *, every_face: bool = True
) -> Faces:
    """The faces of an artifact or table of embeddings.

    Raises:
        ConfigError: another model than the one that was named made it.
    """
    from facenet_core.embedding.artifact import require_model
    from facenet_core.housekeeping.promotion import resolve
    from facenet_core.models import import_model
    from facenet_core.recognition import tables

    faces = tables.read(table, every_face=every_face)
    if model and faces.model:
        fingerprint = import_model.fingerprint_of(resolve(context.root, model, "train"))
        require_model(table, faces.model, fingerprint)
    return faces


def load_embedder(context: Context, model: str, engine: str) -> FaceEmbedder:
    """The model of this URI, reference or file, with what validation says of it."""
    from facenet_core.housekeeping.promotion import resolve
    from facenet_core.recognition.embedder import FaceEmbedder
    from tasks.prefect.progress import bar, transfer

    with transfer(bar) as report:
        uri = resolve(context.root, model, "train", report)
    return FaceEmbedder(uri, engine=engine, root=context.settings.storage)


def embed_sources(
    sources: Sequence[str],
    embedder: FaceEmbedder,
    root: str,
    aligned: bool = False,
    every_face: bool = False,
) -> Iterator[Embedded | Rejected]:
    """The faces in the sources, embedded; crops artifacts are taken as they are.

    At the end it prints how many photographs had a format that cannot be read.
    """
    from facenet_core.recognition.photographs import is_crops, read_rows
    from facenet_core.recognition.stream import Rejected, embed_rows

    unsupported: Counter[str] = Counter()
    for source in sources:
        for face in embed_rows(
            read_rows([source], root),
            embedder,
            every_face=every_face,
            aligned=aligned or is_crops(source),
        ):
            if isinstance(face, Rejected) and face.reason == "unsupported_format":
                unsupported[face.detail] += 1
            yield face
    for detail, count in unsupported.items():
        echo_error(f"facenet: photographs not read: {count:,} ({detail})")


@contextmanager
def embedding_progress(title: str = "embed") -> Iterator[Progress]:
    """A bar of the photographs embedded so far and their rate."""
    with progress_bar(title, None) as report:
        started = time.monotonic()

        def with_rate(done: int, total: int | None, /) -> None:
            report(done, total, f"{done / max(time.monotonic() - started, 1e-6):.0f}/s")

        yield with_rate
