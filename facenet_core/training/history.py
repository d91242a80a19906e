"""What training tells of itself: a table with a row an epoch, and TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from facenet_core import storage
from facenet_core.storage import parquet

HISTORY_FILE = "history.parquet"
LOGS = "logs"  # folder of the TensorBoard events

# Losses and accuracy are means over the epoch's training images; `validation_loss` is the
# cross-entropy of held-out images; `lfw_…` are measured on pairs of other people, with the weights
# of `model.keras`, `…_raw` with those beside the moving averages. What was not measured is null.
# Only `images_per_second` differs between two equal trainings.
HISTORY = pa.schema(
    {
        "epoch": pa.int32(),
        "step": pa.int64(),
        "learning_rate": pa.float64(),
        "loss": pa.float64(),
        "cross_entropy": pa.float64(),
        "triplet_loss": pa.float64(),
        "center_loss": pa.float64(),
        "prelogits_norm_loss": pa.float64(),
        "weight_decay": pa.float64(),
        "accuracy": pa.float64(),
        "embedding_norm": pa.float64(),
        "teacher_loss": pa.float64(),
        "teacher_relation_loss": pa.float64(),
        "validation_loss": pa.float64(),
        "validation_accuracy": pa.float64(),
        "lfw_accuracy": pa.float64(),
        "lfw_val_rate": pa.float64(),
        "lfw_auc": pa.float64(),
        "lfw_accuracy_raw": pa.float64(),
        "images": pa.int64(),
        "images_per_second": pa.float64(),
    }
)


def write_history(model_uri: str, rows: Sequence[Mapping[str, Any]], fingerprint: str) -> None:
    """Write `history.parquet`: a row an epoch, columns as in `HISTORY`."""
    table = pa.Table.from_pylist(list(rows), schema=HISTORY)
    parquet.write_table(storage.join(model_uri, HISTORY_FILE), table, fingerprint)


class EventLog:
    """TensorBoard events of one attempt, in a local file that `upload` copies into storage.

    Args:
        folder_uri: where they belong.
        run_id: in the file's name, so that attempts do not overwrite each other's.
        first_step: TensorBoard forgets what earlier attempts wrote of later steps.
    """

    def __init__(self, folder_uri: str, run_id: str, first_step: int) -> None:
        self._uri = folder_uri
        self._ending = ExitStack()
        self._folder = self._ending.enter_context(storage.temporary_folder())
        from tensorboardX import SummaryWriter  # and, with it, boto3

        self._writer = SummaryWriter(
            str(self._folder), purge_step=first_step, filename_suffix=f".{run_id}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._ending.close()

    def write(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Scalars; None is left out."""
        for name, value in metrics.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)

    def write_images(self, step: int, name: str, images: np.ndarray) -> None:
        """A row of images uint8 [n, h, w, 3]."""
        self._writer.add_images(name, images, step, dataformats="NHWC")

    def write_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        self._writer.add_histogram(name, values.ravel(), step)

    def upload(self) -> None:
        self._writer.flush()
        for path in self._folder.iterdir():
            storage.copy_file(path, storage.join(self._uri, path.name))
