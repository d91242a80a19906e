"""photographs of unknown people, gathered by person

Writes a table (image_id, face_index, cluster, and the known identity), a contact sheet, and with
--folders the crops in a folder for each cluster. Of a table of `facenet embed`, which holds no
crops, it writes the table alone.
"""

from __future__ import annotations

import argparse
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facenet_core import storage
from facenet_core.config import PipelineConfig
from facenet_core.errors import ConfigError
from facenet_core.text.plural import plural
from flows.cli import embedding
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.options import real, whole
from flows.cli.output import echo, echo_json

if TYPE_CHECKING:
    import numpy as np

    from facenet_core.recognition.embedder import FaceEmbedder
    from facenet_core.recognition.threshold import Threshold

NAME = "cluster"
COMMON = common.ROOT
_COLUMNS = ("image_id", "identity", "face_index", "vector")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    embedding.add_sources(parser, embedding.SOURCES_OR_TABLE)
    embedding.add_model(parser, required=False)
    embedding.add_every_face(parser)
    parser.add_argument(
        "--method",
        choices=["average", "hdbscan", "dbscan"],
        default="average",
        help="average linkage; hdbscan finds a density of its own for each cluster; dbscan is the "
        "original's [average]",
    )
    parser.add_argument(
        "--max-distance",
        type=real(gt=0, lt=2),
        metavar="DISTANCE",
        help="Euclidean; of average: between the faces of two clusters on average, of dbscan: "
        "between neighbours; default: 0.83 of the threshold of the model's last validation, or 0.9",
    )
    parser.add_argument(
        "--min-faces", type=whole(ge=2), default=2, metavar="N", help="of a cluster [2]"
    )
    parser.add_argument(
        "--output",
        type=common.ending_in(".parquet"),
        default="clusters.parquet",
        metavar="FILE",
        help="the table; the contact sheet lies beside it as .png [clusters.parquet]",
    )
    parser.add_argument("--folders", metavar="DIR", help="a new folder for the crops, by cluster")


def check(options: argparse.Namespace, settings: PipelineConfig) -> None:
    embedding.check_model(options.model, options.engine)
    folders = storage.local_folder(options.folders) if options.folders else None
    if folders is not None and folders.exists() and any(folders.iterdir()):
        raise ConfigError(f"{options.folders}: not empty; name a new folder")


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.recognition import cluster as core
    from facenet_core.recognition import pictures
    from facenet_core.recognition.threshold import METRIC

    table = embedding.table_of(options.sources, options.model)
    uri = storage.absolute(options.output)
    if table and options.folders:
        raise ConfigError("--folders needs the photographs: a table of embeddings holds no crops")
    if table and storage.absolute(table) == uri:
        raise ConfigError(f"{table}: the source; name another file with --output")
    sheet, rejected = None, 0
    if table:
        faces, decision = _read(table, options, context)
        labels, distance = _labels(faces, decision, options)
        _write_table(uri, faces, labels)
    else:
        embedder = embedding.load_embedder(context, options.model, options.engine)
        with storage.temporary_folder() as folder:
            faces, rejected = _spool(options, context, embedder, folder)
            labels, distance = _labels(faces, embedder.decision, options)
            _write_table(uri, faces, labels)
            sheet = uri.removesuffix(".parquet") + ".png"
            storage.write_bytes(sheet, pictures.clusters(_groups(faces, labels)))
            if options.folders:
                _write_folders(storage.local_folder(options.folders), faces, labels)
    names = [face["identity"] for face in faces]
    named = [row for row, name in enumerate(names) if name]  # single photographs have no name
    identities = [names[row] for row in named]
    agreement = None
    if len(set(identities)) > 1:
        agreement = core.agreement(labels[named], identities)
    counts = {
        "faces": len(faces),
        "rejects": rejected,
        "clusters": int(labels.max()) + 1,
        "unclustered": int((labels == core.NOISE).sum()),
    }
    if context.json:
        values: dict[str, Any] = {"stage": "cluster", "uri": uri, "picture": sheet}
        values |= {"counts": counts, "method": options.method, "metric": METRIC}
        echo_json(values | {"max_distance": distance, "agreement": agreement})
        return
    echo(
        f"{plural(counts['faces'], 'face')} in {plural(counts['clusters'], 'cluster')}, "
        f"{counts['unclustered']:,} in none"
        + ("" if options.method == "hdbscan" else f", at a Euclidean distance of {distance:.3f}")
    )
    if rejected:
        echo(f"{plural(rejected, 'photograph')} gave no face")
    if agreement is not None:
        shares = {
            name: "none" if share is None else f"{share:.4f}" for name, share in agreement.items()
        }
        echo(
            f"Against the names: of the pairs in one cluster {shares['precision']} are one "
            f"person's, of one person's {shares['recall']} are in one cluster; "
            f"adjusted Rand index {shares['adjusted_rand']}"
        )
    if sheet:
        echo(sheet)
    echo(uri)


def _labels(
    faces: Sequence[dict[str, Any]], decision: Threshold, options: argparse.Namespace
) -> tuple[np.ndarray, float]:
    """The cluster of each face, and the distance that was used."""
    import numpy as np

    from facenet_core.recognition import cluster as core

    if not faces:
        raise ConfigError("no faces were found in the photographs")
    distance = options.max_distance
    if distance is None and decision.distance:
        distance = core.SHARE_OF_THRESHOLD * decision.distance
    if distance is None:
        distance = core.DEFAULT_DISTANCE
    vectors = np.stack([face["vector"] for face in faces])
    labels = core.cluster(
        vectors, method=options.method, max_distance=distance, min_faces=options.min_faces
    )
    return labels, distance


def _read(
    table: str, options: argparse.Namespace, context: Context
) -> tuple[list[dict[str, Any]], Threshold]:
    """The faces of a table of embeddings, and what the last validation of its model says."""
    from facenet_core.recognition.threshold import find_reports, validated_threshold

    faces = embedding.read_table(context, table, options.model)
    columns = (faces.image_ids, faces.identities, faces.face_indices.tolist(), faces.vectors)
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    return rows, validated_threshold(find_reports(context.root, faces.model))


def _spool(
    options: argparse.Namespace, context: Context, embedder: FaceEmbedder, folder: Path
) -> tuple[list[dict[str, Any]], int]:
    """Embeddings in memory, crops on disk."""
    from facenet_core.imaging.decode import encode
    from facenet_core.recognition.stream import Embedded

    faces: list[dict[str, Any]] = []
    rejected = 0
    every_face = options.detect_multiple_faces
    with embedding.embedding_progress() as report:
        for face in embedding.embed_sources(
            options.sources, embedder, context.root, options.aligned, every_face
        ):
            if isinstance(face, Embedded):
                file = folder / f"{len(faces)}.jpg"
                file.write_bytes(encode(face.pixels))
                columns = {name: getattr(face, name) for name in _COLUMNS}
                faces.append(columns | {"file": file})
            else:
                rejected += 1
            report(len(faces) + rejected, None)
    return faces, rejected


def _groups(
    faces: Sequence[dict[str, Any]], labels: np.ndarray
) -> list[tuple[str, list[np.ndarray]]]:
    """Titles and crops of the clusters, the largest first."""
    from facenet_core.imaging.decode import decode

    groups = []
    for label in range(min(int(labels.max()) + 1, 40)):
        members = [face for face, of in zip(faces, labels, strict=True) if of == label]
        people = Counter(face["identity"] for face in members if face["identity"])
        names = ", ".join(f"{name} {count}" for name, count in people.most_common(3))
        crops = [decode(face["file"].read_bytes()) for face in members[:8]]
        groups.append((f"{label}: {plural(len(members), 'face')}  {names}", crops))
    return groups


def _write_table(uri: str, faces: Sequence[dict[str, Any]], labels: np.ndarray) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "image_id": [face["image_id"] for face in faces],
            "identity": [face["identity"] for face in faces],
            "face_index": pa.array([face["face_index"] for face in faces], pa.int32()),
            "cluster": pa.array(labels, pa.int32()),
        }
    )
    with storage.new_file(uri) as path:
        parquet.write_table(table, path)


def _write_folders(target: Path, faces: Sequence[dict[str, Any]], labels: np.ndarray) -> None:
    import shutil

    target.mkdir(parents=True, exist_ok=True)
    for face, label in zip(faces, labels, strict=True):
        folder = "none" if label < 0 else f"{label:04d}"
        index = f"_{face['face_index']}" if face["face_index"] else ""
        paths = [f"{folder}/{name}" for name in _file_names(face)]
        _, stream = storage.create_file(target, paths, f"{index}.jpg")
        with stream, face["file"].open("rb") as crop:
            shutil.copyfileobj(crop, stream)


def _file_names(face: dict[str, Any]) -> list[str]:
    """The name of the photograph where it says who it is, and its whole path in one name."""
    names = posixpath.splitext(face["image_id"])[0].split("/")
    whole = "_".join(name for name in names if name)
    return (
        [names[-1], whole]
        if face["identity"] and names[-1].startswith(face["identity"])
        else [whole]
    )
