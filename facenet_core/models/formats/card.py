"""A model card: what a model is, what it was trained on and reaches, and what it is not for.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facenet_core.models.face_model import INPUT, OUTPUT, FaceModel
from facenet_core.models.formats.export import Exported
from facenet_core.storage import Manifest

_METRICS = (
    *("accuracy", "accuracy_std", "val_rate", "val_rate_std", "far", "auc", "eer"),
    *("threshold", "distance_metric", "use_flipped_images", "subtract_mean", "pairs"),
)
_LABELS = {
    "accuracy": "accuracy",
    "val_rate": "validation rate",
    "far": "at a false accept rate of",
    "auc": "area under ROC",
    "eer": "equal error rate",
    "threshold": "threshold",
    "distance_metric": "distance",
    "pairs": "pairs",
}
_USE = (
    "To tell whether two photographs show the same person, to find a person among known ones, and "
    "to gather photographs by person, where those in them have agreed or the law allows it.",
)
_LIMITS = (
    "Embeddings are biometric data: in many places they may be computed only with consent.",
    "Not for identifying people without their knowledge, and not for judging age, sex, origin, "
    "character or emotion.",
    "The figures hold for photographs like those it was validated on. Other cameras, ages, skin "
    "colours, poses and lighting can be far worse: validate on photographs of your own, by group, "
    "before anything depends on it.",
    "A threshold belongs to this model and this way of cropping; another model has another.",
    "No protection against photographs of photographs, masks and generated faces.",
)


def card(
    embedder: FaceModel,
    manifest: Manifest | None,
    report: Manifest | None,
    crops: Mapping[str, Any],
    licences: Mapping[str, str],
    files: Sequence[Exported],
) -> dict[str, Any]:
    """The card as JSON values.

    Args:
        manifest: of the model's artifact; None for a model that is not an artifact.
        report: of its last validation, if there is one.
        crops: how photographs are cropped for it.
        licences: of the data and of the teacher, by their names.
        files: what was exported.
    """
    details = manifest.details if manifest is not None else {}
    counts = manifest.counts if manifest is not None else {}
    metrics = report.details["metrics"] if report is not None else {}
    return {
        "name": embedder.name,
        "fingerprint": embedder.fingerprint,
        "network": details.get("model_def", embedder.network.name),
        "parameters": embedder.network.count_params(),
        "input": f"{INPUT}: uint8 [n, {embedder.image_size}, {embedder.image_size}, 3], RGB",
        "output": f"{OUTPUT}: float32 [n, {embedder.embedding_size}], of unit length",
        "standardization": str(embedder.standardization),
        "crops": dict(crops),
        "training": {
            "data": [entry.uri.split("/")[-2] for entry in _inputs(manifest)][:1],
            **{name: counts[name] for name in sorted(counts) if name != "variables"},
            "config": dict(manifest.config) if manifest is not None else {},
        },
        "imported_from": details.get("imported_from"),
        "teacher": details.get("teacher"),
        "validation": {name: metrics[name] for name in _METRICS if name in metrics},
        "validated_on": [entry.uri.split("/")[-2] for entry in _inputs(report)][:1],
        "intended_use": list(_USE),
        "limits": list(_LIMITS),
        "licences": dict(licences),
        "files": [
            {"file": file.uri.rsplit("/", 1)[-1], "bytes": file.bytes, "cosine": file.cosine}
            for file in files
        ],
        "made_by": dict(manifest.made_by) if manifest is not None else {},
    }


def markdown(values: Mapping[str, Any]) -> str:
    """The card to read."""
    lines = [f"# {values['name']}", ""]
    lines += [f"A face-embedding model, `{values['fingerprint']}`.", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {values[key]} |" for key in ("network", "input", "output")]
    lines += [f"| parameters | {values['parameters']:,} |"]
    lines += [f"| standardisation (inside) | {values['standardization']} |"]
    crops = ", ".join(f"{key} {value}" for key, value in values["crops"].items())
    lines += [f"| crops | {crops} |", ""]
    lines += ["## Files", ""]
    lines += [
        f"* `{file['file']}`: {file['bytes']:,} bytes; its embeddings and the model's have a "
        f"cosine of {file['cosine']:.6f} or more"
        for file in values["files"]
    ]
    lines += ["", "## Training", "", *_training(values), *_teacher(values)]
    lines += ["", "## Validation", "", *_validation(values)]
    lines += ["", "## Intended use", "", *values["intended_use"]]
    lines += ["", "## Limits", "", *(f"* {limit}" for limit in values["limits"])]
    lines += ["", "## Licences", "", *_licences(values)]
    return "\n".join(lines) + "\n"


def _training(values: Mapping[str, Any]) -> list[str]:
    source = values["imported_from"]
    if source is not None:
        files = ", ".join(source["files"])
        return [f"Imported ({source['kind']}: {files}); on which data is not recorded in it."]
    training = values["training"]
    if not training["data"]:
        return ["The model comes from elsewhere; on which data it was trained is not recorded."]
    counted = {key: value for key, value in training.items() if key not in ("data", "config")}
    counts = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counted.items())
    return [f"On {', '.join(training['data'])}: {counts}"]


def _teacher(values: Mapping[str, Any]) -> list[str]:
    teacher = values["teacher"]
    if teacher is None:
        return []
    return [
        "",
        f"It learned to give the embeddings of {teacher['name']} (`{teacher['fingerprint']}`): "
        "what limits the use of that model, and of its data, limits this one's too.",
    ]


def _validation(values: Mapping[str, Any]) -> list[str]:
    metrics = values["validation"]
    if not metrics:
        return ["None is recorded: nobody knows how good it is. `facenet validate` measures it."]
    lines = [f"On {', '.join(values['validated_on'])}:", "", "| | |", "|---|---|"]
    for name, label in _LABELS.items():
        if name in metrics:
            value = metrics[name]
            text = f"{value:.4f}" if isinstance(value, float) else f"{value}"
            if f"{name}_std" in metrics:
                text += f" ± {metrics[f'{name}_std']:.4f}"
            lines.append(f"| {label} | {text} |")
    if metrics.get("use_flipped_images"):
        lines += ["", "With the embedding of the mirrored image joined to each embedding."]
    return lines


def _licences(values: Mapping[str, Any]) -> list[str]:
    if not values["licences"]:
        return ["Not known here. Most face data sets allow research only; see where they are from."]
    return [f"* {name}: {licence}" for name, licence in sorted(values["licences"].items())]


def _inputs(manifest: Manifest | None) -> Sequence[Any]:
    return manifest.inputs if manifest is not None else ()
