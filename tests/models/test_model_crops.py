from __future__ import annotations

import pytest

from facenet_core import storage
from facenet_core.config import AlignConfig
from facenet_core.errors import ConfigError
from facenet_core.models.model_crops import alignment_of, made_alike
from facenet_core.storage import Input, Manifest, Outcome


def publish(root: str, stage: str, settings: dict, inputs: list[Input], details: dict) -> str:
    plan = storage.plan_stage(root, stage, "m", settings, inputs, 1)
    counts = dict.fromkeys(("images", "aligned", "crops", "rejects"), 0)
    storage.publish(plan, Outcome((), counts, details), {})
    return plan.uri


@pytest.fixture
def crops(root: str) -> Input:
    config = AlignConfig(image_size=182, margin=44, thresholds=(0.5, 0.6, 0.6))
    uri = publish(root, "align", config.determining(), [Input("photographs", "1")], {})
    return Input(uri, "1" * 16)


def manifest_of(uri: str) -> Manifest:
    manifest = storage.read_manifest(uri)
    assert manifest is not None
    return manifest


def test_a_trained_model_wants_crops_like_those_of_its_training(root, crops) -> None:
    model = publish(root, "train", {}, [crops], {"image_size": 160})
    alignment = alignment_of(model)
    assert (alignment.image_size, alignment.margin, alignment.thresholds[0]) == (182, 44, 0.5)


def test_a_model_from_elsewhere_says_how_its_crops_are_made(root, crops) -> None:
    details = {"image_size": 112, "alignment": {"image_size": 112, "crop": "similarity"}}
    model = publish(root, "train", {}, [Input("model.onnx", "1")], details)
    assert alignment_of(model) == AlignConfig(image_size=112, crop="similarity")
    report = manifest_of(publish(root, "validate", {}, [crops, crops], {}))
    assert alignment_of(model, reports=[report]).image_size == 182
    gone = manifest_of(publish(root, "validate", {"b": 1}, [Input("gone", "1")] * 2, {}))
    assert alignment_of(model, reports=[gone, report]).image_size == 182
    assert alignment_of(model, reports=[gone]).image_size == 112


def test_a_model_that_says_nothing_gets_crops_of_its_input_and_the_margin_of_lfw(root) -> None:
    model = publish(root, "train", {}, [Input("old.pb", "1")], {"image_size": 96})
    assert alignment_of(model) == AlignConfig(image_size=96, margin=32)
    assert alignment_of("not/imported/yet.pb", 128) == AlignConfig(image_size=128, margin=32)


def test_an_alignment_that_there_is_not_is_refused(root) -> None:
    model = publish(root, "train", {}, [Input("m", "1")], {"alignment": {"marginn": 1}})
    with pytest.raises(ConfigError, match="did you mean `margin`"):
        alignment_of(model)


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, True),
        ({"progress_timeout": 7}, True),
        ({"margin": 32}, False),
        ({"exif": "ignore"}, False),
    ],
)
def test_crops_are_alike_where_what_is_seen_of_them_is(crops, changes, alike) -> None:
    made = manifest_of(crops.uri).config
    wanted = AlignConfig(image_size=182, margin=44, thresholds=(0.5, 0.6, 0.6))
    assert made_alike(made, wanted.model_copy(update=changes)) is alike
