"""The commands of the original's wiki as they are written there, the program's name changed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from facenet_core.config import AlignConfig, PipelineConfig, TrainConfig
from facenet_core.training import schedules
from flows.cli import commands
from flows.cli.context import context_of
from flows.cli.main import _dashes, _parse

TRAIN = (
    "train CROPS --image_size 160 --model_def models.squeezenet --lfw_dir LFW_CROPS "
    "--optimizer RMSPROP --learning_rate -1 --max_nrof_epochs 80 --keep_probability 0.8 "
    "--random_crop --random_flip --learning_rate_schedule_file "
    "data/learning_rate_schedule_classifier_casia.txt --weight_decay 5e-5 "
    "--center_loss_factor 1e-2 --center_loss_alfa 0.9 --batch_size 64 --gpu_memory_fraction 0.6"
)


def settings_of(line: str) -> PipelineConfig:
    options = _parse([_dashes(word) for word in line.split()])
    settings = context_of(options).settings
    commands.find()[options.command].check(options, settings)
    return settings


@pytest.mark.parametrize(("data_set", "size", "margin"), [("lfw", 160, 32), ("casia", 182, 44)])
def test_align_is_configured(
    data_set: str, size: int, margin: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets" / data_set / "raw").mkdir(parents=True)
    line = f"align datasets/{data_set}/raw --image_size {size} --margin {margin}"
    config = settings_of(f"{line} --gpu_memory_fraction 0.6").align
    assert (config.image_size, config.margin, config.gpu_memory_fraction) == (size, margin, 0.6)
    # The same crops as without the limit.
    assert config.determining() == AlignConfig(image_size=size, margin=margin).determining()


def test_train_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings_of(TRAIN).train
    words = {"optimizer": "rmsprop", "model_def": "squeezenet"}
    assert config == config.model_copy(update=words)
    file = config.learning_rate_schedule_file
    assert schedules.choose(config.learning_rate, file).rate(70) == 0.005
    assert (config.lfw_dir, config.batch_size, config.random_crop) == ("LFW_CROPS", 64, True)
    assert (config.weight_decay, config.gpu_memory_fraction) == (5e-5, 0.6)


def test_a_schedule_that_lies_there_comes_before_one_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("casia.txt").write_text("0: 0.25")
    assert schedules.read("casia.txt").rate(1) == 0.25
    assert schedules.read("data/casia.txt").rate(1) == 0.05


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ADAGRAD", "adagrad"),
        ("ADADELTA", "adadelta"),
        ("Adam", "adam"),
        ("RMSPROP", "rmsprop"),
        ("MOM", "momentum"),
    ],
)
def test_optimizers_have_the_names_of_the_original(written: str, name: str) -> None:
    assert TrainConfig(optimizer=written).optimizer == name  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["squeezenet", "inception_resnet_v1", "inception_resnet_v2"])
def test_networks_have_the_names_of_the_original(network: str) -> None:
    plain = TrainConfig(model_def=network)
    assert TrainConfig(model_def=f"models.{network}").determining() == plain.determining()
    assert TrainConfig(model_def=f"models.{network}:make").model_def == f"models.{network}:make"


def test_a_memory_limit_says_where_it_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        AlignConfig(detector_engine="openvino", gpu_memory_fraction=0.6).warn_of_unused()
        AlignConfig(detector_engine="tensorflow", gpu_memory_fraction=0.6).warn_of_unused()
    assert [record.getMessage() for record in caplog.records] == [
        "gpu_memory_fraction has no effect: the detector runs on OpenVINO, on processors"
    ]
