"""Configuration: files, overrides, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core import config
from facenet_core.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    file = folder / "pipeline.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_configuration_that_ships_is_valid(file: Path) -> None:
    assert isinstance(config.load(file), config.PipelineConfig)


def test_a_configuration_of_the_package_is_found_by_its_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load("demo") == config.load(CONFIGS[0].parent / "demo.yaml")
    assert config.load("casia").ingest.source == "CASIA-WebFace.zip"  # in the working folder
    Path("demo").write_text("ingest: {source: mine}")
    assert config.load("demo").ingest.source == "mine"
    with pytest.raises(ConfigError, match="those of the package are casia, demo, real"):
        config.load("dmeo")


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "train: {batch_size: 8, max_nrof_epochs: 2}")
    loaded = config.load(file, ["train.batch_size=16", "validate.subtract_mean=true"])
    assert loaded.train.batch_size == 16
    assert loaded.train.max_nrof_epochs == 2
    assert loaded.validation.subtract_mean is True


def test_paths_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "ingest: {source: faces.tgz}\nvalidate: {pairs: pairs.txt}\n"
        "holdout: {ingest: {source: s3://bucket/lfw.tgz}}",
    )
    loaded = config.load(file)
    assert loaded.ingest.source == str(tmp_path / "faces.tgz")
    assert loaded.validation.pairs == str(tmp_path / "pairs.txt")
    assert loaded.holdout is not None
    assert loaded.holdout.ingest.source == "s3://bucket/lfw.tgz"


def test_words_with_a_meaning_are_not_paths(tmp_path: Path) -> None:
    loaded = config.load(
        write(tmp_path, "ingest: {source: synthetic}\nvalidate: {pairs: generate}")
    )
    assert (loaded.ingest.source, loaded.validation.pairs) == ("synthetic", "generate")


def test_empty_sections_and_numbers_as_names_are_taken(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, "train:\nalign:\n"), ["train.name=2024"])
    assert loaded.train.name == "2024"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", "unknown field `trian`; did you mean `train`"),
        ("train: {max_nrof_epoch: 3}", "unknown field `train.max_nrof_epoch`; did you mean"),
        ("holdout: {ingest: {sorce: x}}", "`holdout.ingest.sorce`; did you mean `source`"),
        ("validate: {far_traget: 0.1}", "did you mean `far_target`"),
        ("train: {batch_size: many}", "train.batch_size: .*(got 'many')"),
        ("train: {keep_probability: 0}", "train.keep_probability"),
        ("align: {thresholds: [0.6, 0.7]}", "align.thresholds"),
        ("ingest: {shards: 0}", "ingest.shards"),
        ("- a list", "expected sections"),
        ("train: {unclosed", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(file)
    assert str(file) in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("override", ["train.batch_size", "=3", "ingest.source.deep=1"])
def test_an_override_without_field_or_value_is_an_error(override: str) -> None:
    with pytest.raises(ConfigError):
        config.load(None, ["ingest.source=x", override])


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such configuration file"):
        config.load(tmp_path / "nowhere.yaml")


@given(st.binary(max_size=200))
def test_any_bytes_as_configuration_load_or_are_an_error(tmp_path_factory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "pipeline.yaml"
    file.write_bytes(data)
    try:
        config.load(file)
    except ConfigError:
        pass


def test_where_something_runs_does_not_determine_what_it_makes() -> None:
    one = config.TrainConfig(gpu_memory_fraction=0.5, checkpoint_every=10)
    assert one.determining() == config.TrainConfig().determining()
    assert config.TrainConfig(seed=1).determining() != config.TrainConfig().determining()


def test_addresses_that_differ_in_secret_parameters_only_are_no_two_data_sets() -> None:
    sources = [f"https://host/faces.tgz?token={number}" for number in (1, 2)]
    values = {"ingest": {"source": sources[0]}, "holdout": {"ingest": {"source": sources[1]}}}
    with pytest.raises(ConfigError, match="cannot be told apart"):
        config.build(config.PipelineConfig, values, "test")
