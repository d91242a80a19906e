"""deployments/prefect.yaml fits the flows: a deployment that cannot start is found here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from facenet_core import config

REPOSITORY = Path(__file__).resolve().parents[1]
DEPLOYMENTS = yaml.safe_load((REPOSITORY / "deployments/prefect.yaml").read_text())["deployments"]


def flow_of(deployment: dict[str, Any]) -> Any:
    path, name = deployment["entrypoint"].split(":")
    return getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_parameters_are_such_as_the_flow_takes(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    flow = flow_of(deployment)
    required = {
        name for name in flow.parameters.required if name not in deployment.get("parameters", {})
    }
    arguments = {**dict.fromkeys(required, "lfw"), **deployment.get("parameters", {})}
    if "config" in required:
        arguments["config"] = {"source": "lfw"}
    validated = flow.validate_parameters(arguments)
    schedule = getattr(validated.get("config"), "learning_rate_schedule_file", None)
    assert schedule is None or Path(schedule).is_file()


def test_the_demo_is_that_of_the_configuration_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    (demo,) = (d for d in DEPLOYMENTS if d["name"] == "pipeline-demo")
    deployed = config.build(config.PipelineConfig, demo["parameters"]["config"], "prefect.yaml")
    expected = config.load("configs/demo.yaml")
    training = expected.train.model_copy(
        update={"learning_rate_schedule_file": deployed.train.learning_rate_schedule_file}
    )
    assert Path(deployed.train.learning_rate_schedule_file).samefile(
        expected.train.learning_rate_schedule_file
    )
    assert deployed == expected.model_copy(update={"train": training})


def test_every_field_of_a_form_says_what_it_is() -> None:
    """The UI draws its forms from these schemas."""
    for deployment in DEPLOYMENTS:
        schema = flow_of(deployment).parameters
        for name, field in schema.properties.items():
            assert field.get("description"), f"{deployment['name']}: {name}"


def test_the_nightly_validation_waits_to_be_switched_on() -> None:
    (nightly,) = (d for d in DEPLOYMENTS if d["name"] == "lfw-validation-nightly")
    (schedule,) = nightly["schedules"]
    assert schedule["cron"]
    assert schedule["active"] is False
    assert nightly["parameters"]["model"].startswith("newest:")
