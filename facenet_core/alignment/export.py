"""A crops artifact as the folder of images that davidsandberg/facenet's alignment wrote.

    DIR/Name/Name_0001.png
    DIR/bounding_boxes_{fingerprint}.txt

The text has a line for each photograph, as there: the file and the corners of what was cut out
(x1 y1 x2 y2 in the photograph's pixels), or the file alone where no face was found.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from facenet_core import storage
from facenet_core.alignment import crops
from facenet_core.alignment.faces import settings_of
from facenet_core.config import AlignConfig
from facenet_core.errors import ArtifactError, StorageError
from facenet_core.imaging import decode
from facenet_core.progress import Progress, silent
from facenet_core.storage import parquet

_EXTENSIONS = {"jpeg": ".jpg", "png": ".png"}


def export(uri: str, folder: Path, progress: Progress = silent) -> Path:
    """Write the crops of a finished artifact as image files, encoded as they are.

    The files are written beside `folder`, which appears when it is whole. A folder that holds this
    artifact's export already stays as it is.

    Args:
        uri: of a crops artifact. The raw artifact that it was made of is read as well, for the
            sizes of the photographs.
        folder: a new or empty one.
        progress: called with the photographs done and their number.

    Returns:
        The text file with the bounding boxes.

    Raises:
        ArtifactError: one of the artifacts is missing or damaged.
        StorageError: the folder holds something else, or cannot be written.
    """
    crops = storage.open_artifact(uri, "align")
    raw = storage.open_artifact(crops.inputs[0].uri, "ingest")
    text_file = check_folder(folder, crops.fingerprint)
    if text_file.is_file():
        return text_file
    config = settings_of(uri, crops.config)
    parts = zip(
        raw.part_uris("images"), crops.part_uris("crops"), crops.part_uris("rejects"), strict=True
    )
    unfinished = folder.absolute().with_name(f".{folder.name}.{crops.fingerprint}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with (unfinished / text_file.name).open("w", encoding="utf-8") as text:
            done = 0
            for raw_part, crops_part, rejects_part in parts:
                for photograph in _photographs(raw_part, crops_part, rejects_part):
                    _write(*photograph, unfinished, folder, config, text)
                    done += 1
                    progress(done, crops.counts["images"])
        os.replace(unfinished, folder)
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return text_file


def check_folder(folder: Path, fingerprint: str) -> Path:
    """Where the bounding boxes of an artifact go, or are, in the folder of an export.

    Raises:
        StorageError: the folder holds something else.
    """
    text_file = folder / f"bounding_boxes_{fingerprint}.txt"
    if folder.exists() and not text_file.is_file() and not _is_empty(folder):
        raise StorageError(
            f"{folder}: there is something else already; export into a new or an empty folder"
        )
    return text_file


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _photographs(
    raw_part: str, crops_part: str, rejects_part: str
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Raw rows with the crops made of each. Raw and crop parts have the same order."""
    rejected = set(parquet.read_table(rejects_part, ["image_id"])["image_id"].to_pylist())
    cropped = groupby(
        _rows(crops_part, ["image_id", "face_index", "image", "box"]),
        key=lambda row: row["image_id"],
    )
    for row in _rows(raw_part, ["image_id", "image"]):
        if row["image_id"] in rejected:
            yield row, []
            continue
        image_id, faces = next(cropped, (None, ()))
        if image_id != row["image_id"]:
            raise ArtifactError(
                f"{crops_part}: has {image_id} where {raw_part} has {row['image_id']}; it was made "
                "of something else: run the align stage again"
            )
        yield row, list(faces)


def _rows(uri: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    for group in parquet.read_row_groups(uri, columns):
        yield from group.to_pylist()


def _write(
    photograph: dict[str, Any],
    faces: Iterable[dict[str, Any]],
    unfinished: Path,
    folder: Path,
    config: AlignConfig,
    text: TextIO,
) -> None:
    """The files of one photograph's crops below `unfinished`, and its lines."""
    stem, original_extension = posixpath.splitext(photograph["image_id"])
    extension = _EXTENSIONS[config.image_format]
    if not faces:
        text.write(f"{folder / storage.safe_path(stem, extension)}\n")
        return
    width, height = decode.full_size(photograph["image"]["bytes"], config.exif)
    margin = 0 if config.crop == "similarity" else config.margin
    for face in faces:
        number = f"_{face['face_index']}" if config.detect_multiple_faces else ""
        # a.jpg and a.png, or a file system to which A and a are the same
        paths = [stem, stem + original_extension] if original_extension else [stem]
        file, stream = storage.create_file(unfinished, paths, number + extension)
        with stream:
            stream.write(face["image"]["bytes"])
        corners = crops.crop_box(face["box"], margin, (height, width))
        text.write(" ".join([str(folder / file), *map(str, corners)]) + "\n")
