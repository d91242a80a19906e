"""What each loss makes of the same images: SqueezeNet with softmax, center loss, ArcFace, CosFace.

    python benchmarks/losses.py CROPS LFW_CROPS PAIRS [--seeds 0 1 2] [--storage DIR]

CROPS is a crops artifact to train on (112 pixels), LFW_CROPS one of other people and PAIRS their
pairs. All trainings have the recipe of configs/real.yaml, and so the same images in the same order.
Prints figures on the pairs, by cosine and with mirrored images, and as the last line JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from facenet_core import config, storage
from facenet_core.config import TrainConfig
from facenet_core.storage import parquet
from facenet_core.training import stage

REAL = Path(__file__).parents[1] / "configs" / "real.yaml"
LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {"center_loss_factor": 0.0},
    "softmax + 0.01 center loss": {"center_loss_factor": 1e-2},
    "softmax + 0.1 center loss": {"center_loss_factor": 1e-1},
    "softmax + 1 center loss": {"center_loss_factor": 1.0},
    "arcface": {"loss": "arcface", "center_loss_factor": 0.0, "logit_scale": 32.0},
    "cosface": {"loss": "cosface", "center_loss_factor": 0.0, "logit_scale": 32.0},
}
FIGURES = ("lfw_accuracy", "lfw_val_rate", "lfw_auc", "accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops")
    parser.add_argument("lfw_crops")
    parser.add_argument("pairs")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES), metavar="LOSS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[666])
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--storage", default="losses-store")
    options = parser.parse_args()
    recipe = config.load(REAL).train.model_dump(exclude_unset=True)
    recipe |= {"max_nrof_epochs": options.epochs, "lfw_every_n_epochs": options.epochs}
    recipe |= {"lfw_dir": storage.absolute(options.lfw_crops), "lfw_pairs": options.pairs}
    recipe |= {"lfw_distance_metric": "cosine", "lfw_use_flipped_images": True, "name": "losses"}
    results: dict[str, list[dict[str, float]]] = {}
    for name in options.losses:
        results[name] = []
        for seed in options.seeds:
            settings = TrainConfig(**{**recipe, **LOSSES[name], "seed": seed})
            results[name].append(_train(settings, options))
            _print(f"{name}, seed {seed}", results[name][-1])
        means = {key: statistics.fmean(row[key] for row in results[name]) for key in FIGURES}
        _print(f"{name}, mean of {len(options.seeds)}", means)
    print(json.dumps(results))


def _print(what: str, figures: dict[str, float]) -> None:
    text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(f"{what:38} {text}", flush=True)


def _train(settings: TrainConfig, given: argparse.Namespace) -> dict[str, float]:
    plan = stage.plan_train(
        storage.absolute(given.storage), storage.absolute(given.crops), settings
    )

    def progress(now: stage.Step) -> None:
        print(f"\r{now.step}/{now.steps} loss {now.loss or 0:.3f}  ", end="", file=sys.stderr)

    stage.finish(plan, stage.train(plan, settings, run_id="benchmark", progress=progress), {})
    last = parquet.read_table(storage.join(plan.uri, "history.parquet")).to_pylist()[-1]
    return {name: last[name] for name in FIGURES}


if __name__ == "__main__":
    main()
