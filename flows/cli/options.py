"""What the commands share that use a model on photographs: their options, and the model."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from flows.cli.checks import check_path
from flows.cli.terminal import echo_error

if TYPE_CHECKING:
    from facenet_core.progress import Progress
    from facenet_core.recognition.embedder import FaceEmbedder
    from facenet_core.recognition.stream import Embedded, Rejected

SOURCES = "photographs, folders or archives of them, Parquet, raw or crops artifacts"


SOURCES_OR_TABLE = f"{SOURCES}, or a table of `facenet embed`"


def add_model(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """The model and what runs it."""
    parser.add_argument(
        "--model",
        required=required,
        metavar="MODEL",
        help="URI of a model artifact, newest:NAME, promoted:NAME, a .keras file, or a TensorFlow "
        "1 model (folder or .pb)",
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "openvino", "keras"],
        default="auto",
        help="what runs the model; auto: OpenVINO where it is installed [auto]",
    )


def add_sources(parser: argparse.ArgumentParser, help: str = SOURCES) -> None:
    """Photographs, and whether they are crops already."""
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=help)
    parser.add_argument(
        "--aligned",
        action="store_true",
        help="SOURCE holds cropped faces already: no detection",
    )


def add_every_face(parser: argparse.ArgumentParser) -> None:
    """Whether a photograph is of one person or of all that are on it."""
    parser.add_argument(
        "--detect-multiple-faces",
        action="store_true",
        help="every face; default: the large, central one",
    )


def ending_in(*endings: str) -> Callable[[str], str]:
    """The type of an option that names a file to write: its ending says what is written.

    Raises:
        ConfigError: when it is parsed and has another ending.
    """

    def check(name: str) -> str:
        if not name.lower().endswith(endings):
            raise ConfigError(f"{name}: expected a name that ends in {' or '.join(endings)}")
        return name

    return check


def check(options: argparse.Namespace) -> None:
    """What can be told of the model and its runtime without loading them.

    Raises:
        ConfigError: the model is a path where nothing lies, or the runtime is not installed.
    """
    if options.model and "/" in options.model:  # else it may be a name
        check_path("--model", options.model)
    if options.engine == "openvino" and not find_spec("openvino"):
        raise ConfigError("--engine: openvino is not installed; pip install openvino")


def table_of(options: argparse.Namespace) -> str | None:
    """The table of `facenet embed` that is the source, or None where photographs are.

    Raises:
        ConfigError: a table beside other sources, or photographs without a model.
    """
    from facenet_core.recognition import tables

    named = [source for source in options.sources if tables.is_table(source)]
    if named and len(options.sources) > 1:
        raise ConfigError(f"{named[0]}: a table of embeddings; name it alone")
    if not named and not options.model:
        raise ConfigError("--model is needed to embed photographs")
    return named[0] if named else None


def root_of(options: argparse.Namespace, settings: PipelineConfig) -> str:
    """The storage root."""
    return storage.absolute(options.storage or settings.storage or storage.default_root())


def load(
    options: argparse.Namespace, settings: PipelineConfig, engine: str | None = None
) -> FaceEmbedder:
    """The model that was asked for."""
    from facenet_core.housekeeping.promotion import resolve
    from facenet_core.recognition.embedder import FaceEmbedder

    uri = resolve(root_of(options, settings), options.model, "train")
    root = options.storage or settings.storage
    chosen = options.engine if engine is None or options.engine != "auto" else engine
    return FaceEmbedder(uri, engine=chosen, root=root)


def embed_sources(
    options: argparse.Namespace,
    settings: PipelineConfig,
    embedder: FaceEmbedder,
    every_face: bool = False,
) -> Iterator[Embedded | Rejected]:
    """The faces in the sources, embedded; crops artifacts are taken as they are.

    When all came, it says of how many photographs the format could not be read.
    """
    from facenet_core.recognition.photographs import is_crops, read_rows
    from facenet_core.recognition.stream import Rejected, embed_rows

    root = root_of(options, settings)
    unsupported: Counter[str] = Counter()
    for source in options.sources:
        for face in embed_rows(
            read_rows([source], root),
            embedder,
            every_face=every_face,
            aligned=options.aligned or is_crops(source),
        ):
            if isinstance(face, Rejected) and face.reason == "unsupported_format":
                unsupported[face.detail] += 1
            yield face
    for detail, count in unsupported.items():
        echo_error(f"facenet: photographs not read: {count:,} ({detail})")


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A count of photographs and their rate, in a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = [
        TextColumn("{task.description}"),
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} images, {task.fields[rate]:.0f}/s"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        row = shown.add_task(title, total=None, rate=0.0)

        def report(done: int, total: int | None) -> None:
            elapsed = shown.tasks[0].elapsed or 0.0
            shown.update(row, completed=done, rate=done / elapsed if elapsed else 0.0)

        yield report
