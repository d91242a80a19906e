"""The decorators `flow` and `task`: Prefect's, of which no secrets are recorded.

Prefect keeps the parameters of a flow as the caller gave them, before they are validated, and what
a flow or task raises with its whole traceback.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import prefect
from prefect import Flow, Task

from facenet_core.privacy import url_secrets

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class RecordedFlow(Flow[Parameters, Result]):
    """A flow whose parameters are recorded without the secrets in URLs."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as JSON values. Raises ConfigError for keys in the URI of a store."""
        return cast(dict[str, Any], url_secrets.hide_all(super().serialize_parameters(parameters)))


def flow(
    **options: Any,
) -> Callable[[Callable[Parameters, Result]], RecordedFlow[Parameters, Result]]:
    """Prefect's `flow`, with its options."""

    def decorate(function: Callable[Parameters, Result]) -> RecordedFlow[Parameters, Result]:
        scrubbed = url_secrets.without_secrets()(function)
        # Prefect would look for the types of parameters in the decorator's module.
        scrubbed.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        return RecordedFlow(fn=scrubbed, **options)

    return decorate


def task(**options: Any) -> Callable[[Callable[Parameters, Result]], Task[Parameters, Result]]:
    """Prefect's `task`, with its options."""

    def decorate(function: Callable[Parameters, Result]) -> Task[Parameters, Result]:
        return prefect.task(**options)(url_secrets.without_secrets()(function))

    return decorate
