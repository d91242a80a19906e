"""The base of all configuration models, and building one from values."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.config import JsonDict

from facenet_core.errors import ConfigError
from facenet_core.privacy import url_secrets
from facenet_core.text.printable import shortened

logger = logging.getLogger(__name__)

# Words that may take the place of a path.
SYNTHETIC = "synthetic"
GENERATED_PAIRS = "generate"
AUTO_PAIRS = "auto"

# Errors of reading YAML; impossible numbers or dates and endless nesting raise the others.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)

WHERE: JsonDict = {"where": True}  # marks a field that says where or how fast something runs
# Patterns of JSON schemas have no flag for letters of either case.
_SECRET_WORDS = "|".join(
    "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word)
    for word in url_secrets.SECRET_WORDS
)
# In a JSON schema: an address without secrets. Prefect's server checks the parameters of a
# deployment's run against it, and refuses them before it records anything. It says nothing of null.
NO_CREDENTIALS: JsonDict = {
    "not": {
        "type": "string",
        "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*://([^/]*|[^/@:]*:(?![0-9]{0,5}[/?#])[^@]*)@"
        rf"|^[A-Za-z][A-Za-z0-9+.-]*://.*[?&][^=&]*({_SECRET_WORDS})[^=&]*=",
    }
}
# Marks a field that holds a path or URI: a path is relative to the file it stands in.
PATH: JsonDict = {"path": True, **NO_CREDENTIALS}

# A path, URI or reference. Its secrets stay in the memory of this process.
Address = Annotated[str, AfterValidator(url_secrets.hide)]
# An address that is a parameter of a flow.
Uri = Annotated[Address, Field(json_schema_extra=NO_CREDENTIALS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Probability = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as Keras takes it
# Bounds for numbers without a natural one: far above sensible values; squares fit float32.
LARGEST_FACTOR = 1e12
LARGEST_COUNT = 10**9
LARGEST_BYTES = 2**60
LONGEST_WAIT = 1e7  # seconds: four months
Model = TypeVar("Model", bound="Config")


class Config(BaseModel):
    """Base of all configuration: immutable, and unknown fields are errors.

    Numbers are finite and not truth values; each field states its bounds, which
    tests/config/test_config.py checks.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # a data set may be called 2024
        allow_inf_nan=False,
        populate_by_name=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _truth_values_apart(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would take `yes` for 1, and 1 for `yes`."""
        expected = _types_in(cls.model_fields[str(info.field_name)].annotation)
        elements = value if isinstance(value, list | tuple) else [value]
        if expected == {bool} and not isinstance(value, bool):
            raise ValueError("expected true or false")
        if expected & {int, float} and any(isinstance(element, bool) for element in elements):
            raise ValueError("expected a number; YAML reads yes, no, on and off as true and false")
        return value

    def determining(self) -> dict[str, Any]:
        """The fields that determine what is made, as JSON values (without those marked `where`)."""
        not_determining = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("where")
        }
        return self.model_dump(mode="json", exclude=not_determining)

    def unused(self) -> dict[str, str]:
        """The fields that have no effect beside the others' values, and why."""
        return {}

    def warn_of_unused(
        self, why: Mapping[str, str] | None = None, explicit: Collection[str] | None = None
    ) -> None:
        """Log each field that was given a value of its own, and has no effect.

        Args:
            why: fields without effect, and why; default: `unused`.
            explicit: the fields that were given; default: those of this configuration.
        """
        explicit = self.model_fields_set if explicit is None else explicit
        for name, reason in (self.unused() if why is None else why).items():
            if name in explicit and getattr(self, name) != type(self).model_fields[name].default:
                logger.warning("%s has no effect: %s", name, reason)


def build(model: type[Model], values: Mapping[str, Any], origin: str) -> Model:
    """Validate `values` as `model`; `origin` says in the error where they came from.

    Raises:
        ConfigError: naming each wrong field, and the nearest name of an unknown one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def as_options(model: type[Config], values: Mapping[str, Any]) -> list[str]:
    """The options of a command line that set fields of `model` to JSON values, defaults left out.

    What is no field of `model` is left out, too.
    """
    words: list[str] = []
    defaults = model.model_construct().model_dump(mode="json")
    for name, value in values.items():
        if name not in defaults or value == defaults[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            several = value if isinstance(value, list) else [value]
            words += [f"--{option}", *("null" if one is None else str(one) for one in several)]
    return words


def _types_in(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    parts = get_args(annotation)
    return set().union(*map(_types_in, parts)) if parts else {annotation}


def field_model(model: type[Config], path: Sequence[str | int]) -> type[Config] | None:
    """The configuration model at a dotted path below `model`, or None where there is none."""
    for part in path:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
                nested = [c for c in candidates if isinstance(c, type) and issubclass(c, Config)]
                break
        else:
            return None
        if not nested:
            return None
        model = nested[0]
    return model


def _explain(model: type[Config], problem: Any) -> str:
    *parents, name = problem["loc"] or ("configuration",)
    dotted = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "value_error" and not problem["loc"]:
        return str(problem["ctx"]["error"])  # of fields that do not go together
    if problem["type"] != "extra_forbidden":
        return f"{dotted}: {problem['msg']} (got {shortened(repr(problem['input']), 200)})"
    owner = field_model(model, parents) or model
    fields = [field.alias or key for key, field in owner.model_fields.items()]
    nearest = difflib.get_close_matches(str(name), fields, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known: {', '.join(fields)}"
    return f"unknown field `{dotted}`; {hint}"
