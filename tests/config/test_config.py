"""Configuration: files, overrides, and errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core import config
from facenet_core.datasets.fetch.catalogue import CatalogueEntry
from facenet_core.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


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
    with pytest.raises(ConfigError, match="those of the package are casia, demo, real, student"):
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


def numbers(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[Any]:
    """Each number in the schema of a configuration, and the field it is in."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if node.get("type") in ("integer", "number"):
        yield path, node
    for branch in (*node.get("anyOf", ()), *node.get("prefixItems", ())):
        yield from numbers(schema, branch, path)
    if isinstance(node.get("items"), dict):
        yield from numbers(schema, node["items"], path)
    for name, field in node.get("properties", {}).items():
        yield from numbers(schema, field, f"{path}.{name}".lstrip("."))


def schema_numbers(model: type[config.Config]) -> list[Any]:
    schema = model.model_json_schema()
    return list(numbers(schema, schema, ""))


FIELDS = schema_numbers(config.PipelineConfig)


@pytest.mark.parametrize("model", [config.PipelineConfig, CatalogueEntry])
def test_every_number_has_bounds(model: type[config.Config]) -> None:
    unbounded = [
        path
        for path, node in schema_numbers(model)
        if not ({"minimum", "exclusiveMinimum"} & node.keys())
        or not ({"maximum", "exclusiveMaximum"} & node.keys())
    ]
    assert not unbounded


@pytest.mark.parametrize("model", config.PipelineConfig.model_json_schema()["$defs"].items())
def test_help_texts_are_sentences_of_their_own(model: tuple[str, dict[str, Any]]) -> None:
    """People read them in a form of Prefect's UI, without the line above."""
    for name, field in model[1]["properties"].items():
        text = field.get("description", "")
        assert re.fullmatch(r"[A-Z].*[a-z`)\]].*\.", text), f"{model[0]}.{name}: {text!r}"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "yes", "1e+30", "-1.0e+30", "'.inf'"])
def test_a_number_is_finite_and_no_truth_value(value: str) -> None:
    elements = {"align.thresholds": f"[0.5, {value}, 0.5]", "cluster.adapt": f"[0, {value}]"}
    for path in sorted({path for path, _ in FIELDS}):
        base = ["holdout.ingest.source=x"] if path.startswith("holdout") else []
        with pytest.raises(ConfigError, match=rf"{path}"):
            config.load(None, [*base, f"{path}={elements.get(path, value)}"])


@pytest.mark.parametrize("value", ["1", "0", "'yes'", "2.0"])
def test_a_truth_value_is_no_number(value: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.random_flip: .*true or false"):
        config.load(None, [f"train.random_flip={value}"])


def test_numbers_are_taken_as_yaml_and_people_write_them() -> None:
    overrides = ["train.weight_decay=1e-4", "train.batch_size=90.0", "train.alpha=1"]
    train = config.load(None, overrides).train  # YAML 1.1 reads 1e-4 as text
    assert (train.weight_decay, train.batch_size, train.alpha) == (1e-4, 90, 1.0)


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


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_field_of_a_configuration_that_ships_has_an_effect(file: Path, caplog) -> None:
    loaded = config.load(file)
    for section in (loaded.ingest, loaded.align, loaded.train, loaded.validation):
        section.warn_of_unused()
    assert not caplog.messages


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("train", {"logit_scale": 30}, "logit_scale has no effect: loss is softmax"),
        ("train", {"learning_rate_schedule_file": "x"}, "a negative one asks for the schedule"),
        ("train", {"lfw_subtract_mean": True}, "lfw_dir is missing"),
        ("train", {"filter_model": "m"}, "filter_percentile is 100"),
        ("train", {"min_nrof_val_images_per_class": 5}, "validation_set_split_ratio is 0"),
        ("ingest", {"source": "faces.tgz", "identities": 5}, "the source is not `synthetic`"),
        ("ingest", {"identity_pattern": "(.)"}, "the source is `synthetic`"),
        ("align", {"crop": "similarity", "margin": 44}, "crop: similarity has no margin"),
        ("align", {"image_format": "png", "jpeg_quality": 80}, "the crops are PNG"),
        ("cluster", {"dask_address": "tcp://a:1", "workers": 2}, "a cluster that has its own"),
    ],
)
def test_a_field_without_effect_is_named(section: str, fields: dict, message: str, caplog) -> None:
    loaded = config.build(config.PipelineConfig, {section: fields}, "test")
    getattr(loaded, section).warn_of_unused()
    assert len(caplog.messages) == 1
    assert message in caplog.messages[0]


def test_values_become_the_options_that_set_them() -> None:
    values = {"use_flipped_images": True, "lfw_nrof_folds": 5, "far_target": 0.001, "of_old": 1}
    assert config.as_options(config.ValidateConfig, values) == [
        *("--use-flipped-images", "--lfw-nrof-folds", "5")
    ]
    values = {"thresholds": [0.5, 0.6, 0.7], "exif": "ignore"}
    assert config.as_options(config.AlignConfig, values) == [
        *("--thresholds", "0.5", "0.6", "0.7", "--exif", "ignore")
    ]
