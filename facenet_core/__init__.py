"""From face photographs to a validated face-embedding model.

Knows nothing of Prefect or Dask: every function can be called from a notebook. The rooms, of which
tests/test_house.py says who imports whom:

    datasets          sources of photographs, downloads, pairs; the stage `ingest`
    synthetic_faces   drawn faces, a source that needs no data
    alignment         MTCNN, crops; the stage `align`
    models            networks, and models in and out of files of other programs
    embedding         embeddings of crops; the stage `embed`
    training          losses, schedules, checkpoints; the stage `train`
    evaluation        the LFW protocol and its report; the stage `validate`
    audit             wrong labels, duplicates and leaks in a set of faces; the stage `audit`
    recognition       a trained model on photographs: compare, find, classify, cluster, embed
    housekeeping      what a storage root holds: lists, checks, removal, promotion
    privacy           secrets in URLs, and people who are to be forgotten

    config            configuration: one model a stage
    storage           artifacts: plan, manifest, parts, on disks and in buckets
    fetch             files from addresses, and catalogues of them
    imaging           decoding, contact sheets
    text              texts for people and from them
    extras            which packages an extra brings, and what to install
    errors            the errors whose messages people read
    progress          how work reports how far it is
    prefetch          reading ahead in threads
    cache             the user's cache folder
    runtime           settings of the whole process, and child processes
"""

from typing import Any

__all__ = ["FaceEmbedder"]


def __getattr__(name: str) -> Any:
    """`from facenet_core import FaceEmbedder`, loaded only then: it brings scikit-learn along."""
    if name == "FaceEmbedder":
        from facenet_core.recognition.embedder import FaceEmbedder

        return FaceEmbedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
