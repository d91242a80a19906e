"""Crops as training reads them: pixels of any rows, in batches decoded ahead.

Two kinds of `Crops` give the same pixels: `cache.CropFile`, a local copy that is read at random,
and `stream.CropStream`, storage itself. No backend takes part: batches are plain NumPy arrays.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

import cv2
import numpy as np
import pyarrow as pa

from facenet_core.errors import TrainingError

T = TypeVar("T")


class Crops(ABC):
    """The first faces of a crops artifact, by row number.

    Rows are numbered in the order of the parts, whoever reads them.

    Attributes:
        content: names what the rows hold; equal content has equal rows.
        identities: strings, in order of appearance.
        identity_of_row: int32 [rows], index into `identities`.
    """

    content: str
    identities: pa.StringArray
    identity_of_row: np.ndarray

    # What to do where a crop cannot be decoded.
    remedy = "run the align stage again"

    def __len__(self) -> int:
        return len(self.identity_of_row)

    @abstractmethod
    def image_id(self, row: int) -> str: ...

    @abstractmethod
    def encoded(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The encoded pictures of rows, each uint8 [bytes].

        Raises:
            ArtifactError: a part is missing or damaged.
        """

    def decode(self, row: int) -> np.ndarray:
        """Pixels uint8 [h, w, 3] RGB of a row.

        Raises:
            TrainingError: the crop cannot be decoded.
        """
        return self._decoded(row, self.encoded([row])[0])

    def decode_rows(self, rows: Iterable[int], crop_size: tuple[int, int]) -> np.ndarray:
        """Pixels uint8 [n, height, width, 3] RGB of rows.

        Raises:
            TrainingError: a crop cannot be decoded, or has another size than `crop_size`.
        """
        rows = [int(row) for row in rows]
        images = np.empty((len(rows), *crop_size, 3), np.uint8)
        for image, row, encoded in zip(images, rows, self.encoded(rows), strict=True):
            pixels = self._decoded(row, encoded)
            if pixels.shape != image.shape:
                raise TrainingError(
                    f"the crop of {self.image_id(row)} has {pixels.shape[1]}×"
                    f"{pixels.shape[0]} pixels, the first one {crop_size[1]}×{crop_size[0]}; "
                    "training needs crops of one size: align the data set again"
                )
            image[:] = pixels
        return images

    def _decoded(self, row: int, encoded: np.ndarray) -> np.ndarray:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if len(encoded) else None
        if pixels is None:
            raise TrainingError(
                f"the crop of {self.image_id(row)} cannot be decoded; {self.remedy}"
            )
        return pixels


def numbered(columns: Iterable[pa.Array]) -> tuple[pa.StringArray, np.ndarray]:
    """The different names of columns in order of appearance, and int32 [rows]: each row's."""
    chunks = [
        chunk
        for column in columns
        for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    encoded = pa.chunked_array(chunks, pa.string()).dictionary_encode().combine_chunks()
    return encoded.dictionary, np.asarray(encoded.indices)


def require_room(crop_size: tuple[int, int], image_size: int) -> None:
    """Raises TrainingError where crops of (height, width) pixels are smaller than the input."""
    if min(crop_size) < image_size:
        height, width = crop_size
        raise TrainingError(
            f"the crops have {width}×{height} pixels, image_size is {image_size}: align again with "
            f"image_size {image_size} or more, or train with image_size {min(crop_size)}"
        )


def decoding_threads(wanted: int | None) -> int:
    """The threads asked for, or one a core."""
    return wanted or os.cpu_count() or 1


class Pictures:
    """The encoded pictures of an Arrow column, as NumPy views of its bytes.

    Three times as fast as asking Arrow for one value at a time.
    """

    def __init__(self, column: pa.LargeBinaryArray) -> None:
        _, offsets, values = column.buffers()
        starts = np.frombuffer(offsets, np.int64) if offsets else np.zeros(1, np.int64)
        self._offsets = starts[column.offset : column.offset + len(column) + 1]
        self._bytes = np.frombuffer(values, np.uint8) if values else np.empty(0, np.uint8)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._bytes[self._offsets[row] : self._offsets[row + 1]]
