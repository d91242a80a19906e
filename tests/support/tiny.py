"""The smallest pipeline that has every stage, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

TINY = {
    "cluster": {"workers": 2},
    "ingest": {"name": "tiny", "identities": 6, "images_per_identity": 6, "shards": 4},
    "align": {"image_size": 72, "margin": 16},
    "holdout": {
        "ingest": {
            "name": "tiny-holdout",
            "identities": 8,
            "images_per_identity": 4,
            "first_identity": 100,
            "shards": 4,
        }
    },
    "train": {
        "name": "tiny",
        "image_size": 64,
        "embedding_size": 16,
        "batch_size": 12,
        "epoch_size": 3,
        "max_nrof_epochs": 3,
        "center_loss_factor": 0.01,
        "keep_probability": 0.8,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_norm_decay": 0.5,
        "random_crop": True,
        "random_flip": True,
        "checkpoint_every": 2,
    },
    "validate": {"lfw_nrof_folds": 2, "pairs_per_fold": 10, "far_target": 0.1},
}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "flows.cli", *map(str, arguments)]


def facenet(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run the command line in a process of its own: exit status, stdout, stderr."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
