"""What runs are called in the Prefect UI: `align lfw 160px`, `train casia squeezenet 90 epochs`.

Each function is the `flow_run_name` of the flow of its name; `shards.shard_task` names shards.
"""

from __future__ import annotations

import re

from prefect.runtime import flow_run

from facenet_core.config import AlignConfig, IngestConfig, PipelineConfig, TrainConfig

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_ARCHIVE = re.compile(r"\.(tar|tgz|tar\.\w+|zip|tbz2|txz)$")


def pipeline() -> str:
    parameters = flow_run.parameters
    config: PipelineConfig = parameters["config"]
    data = config.ingest.name or artifact(config.ingest.source)
    return f"pipeline {data} {config.train.model_def}"


def ingest() -> str:
    parameters = flow_run.parameters
    config: IngestConfig = parameters["config"]
    return f"ingest {config.name or artifact(config.source)}"


def align() -> str:
    parameters = flow_run.parameters
    config: AlignConfig = parameters["config"]
    return f"align {artifact(parameters['raw'])} {config.image_size}px"


def embed() -> str:
    parameters = flow_run.parameters
    return f"embed {artifact(parameters['source'])} by {artifact(parameters['model'])}"


def audit() -> str:
    return f"audit {artifact(flow_run.parameters['source'])}"


def train() -> str:
    parameters = flow_run.parameters
    config: TrainConfig = parameters["config"]
    data = artifact(parameters["crops"])
    return f"train {config.name or data} {config.model_def} {config.max_nrof_epochs} epochs"


def validate() -> str:
    parameters = flow_run.parameters
    model = parameters.get("model")
    return f"validate {f'{artifact(model)} on ' if model else ''}{artifact(parameters['crops'])}"


def artifact(uri: str) -> str:
    """The name in an artifact's URI, or of the file, folder or reference that stands for one."""
    *_, parent, last = ("", *uri.rstrip("/").split("/"))
    if _FINGERPRINT.fullmatch(last):
        return parent
    return _ARCHIVE.sub("", last.rpartition(":")[2]) or uri
