"""From face photographs to a validated face-embedding model.

Knows nothing of Prefect or Dask: every function can be called from a notebook.
"""

from typing import Any

__all__ = ["FaceEmbedder"]


def __getattr__(name: str) -> Any:
    """`from facenet_core import FaceEmbedder`, loaded only then: it brings scikit-learn along."""
    if name == "FaceEmbedder":
        from facenet_core.recognition.embedder import FaceEmbedder

        return FaceEmbedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
