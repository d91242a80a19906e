"""Recognise the kind of source at a path or URI by its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets.fetch.locate import EXPECTED, nothing_at
from facenet_core.datasets.members import Source
from facenet_core.datasets.sources.archive import Archive, is_archive
from facenet_core.datasets.sources.bucket import Bucket
from facenet_core.datasets.sources.folder import Folder
from facenet_core.datasets.sources.listing import Listed
from facenet_core.datasets.sources.parquet import ParquetFiles
from facenet_core.datasets.sources.recordio import RecordFile
from facenet_core.errors import SourceError
from facenet_core.imaging.formats import EXTENSIONS

_FEW_FOLDERS = 16  # `data/`, `train/` … of a data set of tables; photographs have one per person


def recognise(uri: str, config: IngestConfig) -> Source:
    """The source at a path or URI.

    Raises:
        SourceError: nothing is there, or its kind is unknown.
    """
    size = storage.size(uri)
    if Path(uri).is_dir() or (not size and storage.is_folder(uri)):
        return _folder(uri, config)
    if size is None:
        raise SourceError(nothing_at(uri))
    return _file(uri, config)


def _file(uri: str, config: IngestConfig) -> Source:
    name = uri.lower()
    if name.endswith((".csv", ".tsv")):
        return Listed(uri)
    if name.endswith(".rec"):
        return RecordFile(uri)
    with storage.open_input(uri) as file:
        start = file.read(512)
    if start.startswith(b"PAR1"):
        return ParquetFiles(uri, (uri,), config.image_column, config.identity_column)
    if is_archive(start):
        return Archive(uri)
    raise SourceError(f"{uri}: neither a folder nor an archive; expected {EXPECTED}")


def _folder(uri: str, config: IngestConfig) -> Source:
    """A folder of Parquet files, a folder with one record file, or a folder of other files."""
    top = [entry for entry in storage.entries(uri) if not storage.is_system_file(entry.name)]
    records = [entry.name for entry in top if entry.name.endswith(".rec")]
    if "train.rec" in records or len(records) == 1:
        return RecordFile(storage.join(uri, "train.rec" if "train.rec" in records else records[0]))
    tables = _tables(uri, top)
    if tables:
        return ParquetFiles(uri, tables, config.image_column, config.identity_column)
    return Folder(Path(uri)) if Path(uri).is_dir() else Bucket(uri)


def _tables(uri: str, top: Sequence[storage.FolderEntry]) -> tuple[str, ...]:
    """The Parquet files in a folder and its few subfolders, if there are no images."""
    names = [entry.name for entry in top if not entry.folder]
    folders = [entry.name for entry in top if entry.folder]
    if len(folders) <= _FEW_FOLDERS:
        for folder in folders:
            inside = storage.entries(storage.join(uri, folder))
            names += [f"{folder}/{entry.name}" for entry in inside]
    tables = sorted(
        name for name in names if name.endswith(".parquet") and not storage.is_system_file(name)
    )
    if not tables or any(
        Path(name).suffix.lower() in EXTENSIONS and not storage.is_system_file(name)
        for name in storage.find_files(uri)
    ):
        return ()
    return tuple(storage.join(uri, name) for name in tables)
