"""Pairs files: recognising the format, reading and writing."""

from __future__ import annotations

import hashlib
import posixpath

import pyarrow.parquet as pq

from facenet_core import storage
from facenet_core.datasets.pairs import lfw, tables
from facenet_core.datasets.pairs import lists as pairs_lists
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.errors import PairsError
from facenet_core.storage import Manifest
from facenet_core.text import files as text_files

_FORMATS = (
    "a pairs file of LFW, CALFW, CPLFW or AgeDB-30, a CSV or Parquet file with image_id_a, "
    "image_id_b and same, CFP's folder Protocol/Split/FP, or `generate`"
)


# A data set's file of this name holds the pairs that it is validated on.
OF_DATA_SET = ("pairs.txt", "pairs.csv", "pairs.parquet")


def of_data_set(raw: Manifest) -> str | None:
    """The pairs file that was downloaded with the photographs of a raw artifact, if there was one.

    Raises:
        PairsError: it is gone.
    """
    for file in raw.details.get("files", ()):
        if posixpath.basename(file["uri"]) in OF_DATA_SET:
            if not storage.exists(file["uri"]):
                raise PairsError(
                    f"{file['uri']}: the pairs of {raw.name} are gone; fetch them again with "
                    f"`facenet ingest {raw.name}`, name others with --pairs, or draw some with "
                    "--pairs generate"
                )
            return str(file["uri"])
    return None


def read(uri: str, nrof_folds: int) -> Pairs:
    """Read pairs in any of the formats, recognised by the content.

    Args:
        uri: the file, or the folder of a protocol of CFP.
        nrof_folds: number of folds to cut if the format has no folds.

    Raises:
        PairsError: there is no such file, or it is malformed.
    """
    if not storage.exists(uri):
        raise PairsError(f"{uri}: no such pairs file; expected {_FORMATS}")
    if storage.is_folder(uri):
        return pairs_lists.read_cfp(uri)
    content = storage.read_bytes(uri)
    if content.startswith(b"PAR1"):
        return tables.parse_parquet(content, uri, nrof_folds)
    if uri.endswith(".bin"):
        raise PairsError(
            f"{uri}: a .bin file holds its own images; run facenet validate FILE.bin MODEL"
        )
    return parse(text_files.decode(content, uri, PairsError), uri, nrof_folds)


def parse(text: str, origin: str, nrof_folds: int) -> Pairs:
    """Parse the text of a pairs file. Its first line shows the format.

    Raises:
        PairsError: it is malformed; the message names the line and what was expected.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "image_id_a" in first:
        return tables.parse_csv(text, origin, nrof_folds)
    fields = first.split()
    if len(fields) == 3 and fields[2] in ("1", "0", "-1") and not fields[1].isdecimal():
        return pairs_lists.parse_triples(text, origin, nrof_folds)
    if len(fields) >= 2 and fields[-1].isdecimal() and "." in fields[-2]:
        return pairs_lists.parse_twins(text, origin, nrof_folds)
    return lfw.parse(text, origin, nrof_folds)


def write(pairs: Pairs, uri: str) -> None:
    """Write pairs as `.csv`, `.parquet` or, where names and folds allow, LFW's `.txt`.

    Raises:
        PairsError: another extension, or LFW's format cannot hold them.
        StorageError: the file cannot be written.
    """
    extension = posixpath.splitext(uri)[1].lower()
    if extension == ".parquet":
        with storage.new_file(uri) as path:
            pq.write_table(tables.to_table(pairs), path, compression="zstd")
    elif extension == ".csv":
        storage.write_bytes(uri, tables.format_csv(pairs).encode())
    elif extension == ".txt":
        storage.write_bytes(uri, lfw.format_pairs(pairs, uri).encode())
    else:
        raise PairsError(f"{uri}: pairs are written as .csv, .parquet or .txt (LFW's format)")


def content_of(uri: str) -> str:
    """The identity of a pairs file in fingerprints: a digest of it, or of CFP's folder."""
    if not storage.is_folder(uri):
        return f"sha256:{storage.sha256(uri)}"
    lists = posixpath.dirname(posixpath.dirname(storage.absolute(uri)))
    files = [storage.join(lists, name) for name in ("Pair_list_F.txt", "Pair_list_P.txt")]
    files += storage.list_files(storage.absolute(uri))
    digest = hashlib.sha256()
    for file in files:
        name = posixpath.relpath(file, lists)
        digest.update(f"{name} {storage.sha256(file) if storage.exists(file) else ''}\n".encode())
    return f"sha256:{digest.hexdigest()}"
