"""Credentials of object storage, kept by Prefect's server in a block and named by runs.

A run that names a block gets its values as the standard AWS environment, before the first client is
made: clients, local Dask workers and child processes all read them there, and nowhere else. Runs,
records and fingerprints hold the name of the block at most, never its values.

    prefect block register --module tasks.prefect.credentials      the form, in the UI under Blocks
    facenet credentials NAME                               the AWS_… of this shell, as a block
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Self, cast

import httpx
from prefect.blocks.core import Block
from prefect.exceptions import PrefectHTTPStatusError
from pydantic import ConfigDict, Field, SecretStr, ValidationError, model_validator

from facenet_core import storage
from facenet_core.errors import ConfigError, FacenetError

NAME = "FACENET_STORAGE_CREDENTIALS"

# Who makes the requests: replaced together, so that a token never meets the keys of another.
_IDENTITY = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "profile": "AWS_PROFILE",
}
# Other names of these, some of which take precedence, and when another session ends.
_ALIASES = ("AWS_SECURITY_TOKEN", "AWS_DEFAULT_PROFILE", "AWS_CREDENTIAL_EXPIRATION")
# The endpoint of S3 alone: a profile may have to ask other services for its keys. Of regions,
# botocore reads AWS_DEFAULT_REGION alone, other tools AWS_REGION first.
_LOCATION = {
    "endpoint_url": ("AWS_ENDPOINT_URL_S3",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}


class StorageCredentials(Block):
    """Keys, or a profile, for an S3 bucket, and where it is."""

    _block_type_name = "Facenet storage credentials"
    _block_type_slug = "facenet-storage-credentials"

    # Messages about wrong values do not repeat the values.
    model_config = ConfigDict(hide_input_in_errors=True)

    # Empty for what is not given: the form in the UI then has one plain field for each.
    access_key_id: SecretStr = Field(SecretStr(""), description="AWS_ACCESS_KEY_ID.")
    secret_access_key: SecretStr = Field(SecretStr(""), description="AWS_SECRET_ACCESS_KEY.")
    session_token: SecretStr = Field(
        SecretStr(""), description="AWS_SESSION_TOKEN, of keys that are temporary."
    )
    profile: str = Field(
        "", description="Instead of keys: a profile in ~/.aws of the machine that the run is on."
    )
    endpoint_url: str = Field(
        "",
        description="https://s3.example.org, for MinIO, Ceph …; default: that of the environment, "
        "or else Amazon's.",
    )
    region: str = Field("", description="Such as eu-central-1.")

    @model_validator(mode="after")
    def _keys_or_a_profile(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key go together")
        if bool(self.access_key_id) == bool(self.profile):
            raise ValueError("give either access_key_id and secret_access_key, or profile")
        if self.session_token and not self.access_key_id:
            raise ValueError("session_token goes with keys")
        return self

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The credentials in an environment; keys take precedence over a profile, as for AWS.

        Raises:
            ConfigError: it holds neither.
        """
        values: dict[str, Any] = {
            field: environment.get(name, "") for field, name in _IDENTITY.items()
        }
        for field, names in _LOCATION.items():
            values[field] = next(filter(None, map(environment.get, names)), "")
        values["endpoint_url"] = values["endpoint_url"] or environment.get("AWS_ENDPOINT_URL", "")
        if values["access_key_id"]:
            values["profile"] = ""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(f"the environment: {_reasons(error)}, as AWS_… variables") from None

    def environment(self) -> dict[str, str | None]:
        """The variables of the environment to set, and those to remove (None)."""
        variables: dict[str, str | None] = dict.fromkeys(_ALIASES)
        variables |= {name: self._value(field) or None for field, name in _IDENTITY.items()}
        for field, names in _LOCATION.items():
            if value := self._value(field):
                variables |= dict.fromkeys(names, value)
        return variables

    def _value(self, field: str) -> str:
        value = getattr(self, field)
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


_variables_in_use: dict[str, str | None] = {}


def variables_in_use() -> Mapping[str, str | None]:
    """The variables that a block set in this process, for workers elsewhere; empty without one."""
    return dict(_variables_in_use)


def open_root(root: str | None, credentials: str | None) -> str:
    """The storage root, absolute; its credentials are in the environment from here on.

    Args:
        root: a folder or URI; default: $FACENET_STORAGE.
        credentials: name of a block; default: $FACENET_STORAGE_CREDENTIALS, or else none: what the
            environment holds is used.

    Raises:
        ConfigError: there is no such block, or it is incomplete.
        FacenetError: the Prefect server does not answer.
    """
    use(credentials)
    return storage.absolute(root or storage.default_root())


def use(name: str | None) -> None:
    """Set the variables of the named block in the environment. Raises as `open_root` does."""
    name = name or os.environ.get(NAME)
    if not name:
        return
    changes = _load(name).environment()
    for variable, value in changes.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
    _variables_in_use.clear()
    _variables_in_use.update(changes)
    os.environ[NAME] = name  # stages inside this run


def save(name: str, replace: bool) -> None:
    """Keep the credentials of this environment in a block of this name.

    Raises:
        ConfigError: the environment holds none, or the name is invalid or taken.
        FacenetError: the Prefect server does not answer.
    """
    if re.fullmatch("[a-z0-9-]+", name) is None:
        raise ConfigError(f"invalid block name {name}; expected small letters, digits and dashes")
    block = StorageCredentials.of(os.environ)
    try:
        block.save(name, overwrite=replace)
    except ValueError:
        raise ConfigError(
            f"{name}: there are storage credentials of this name; --yes replaces them"
        ) from None
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise _unanswered(name, error) from None


def _load(name: str) -> StorageCredentials:
    try:
        return cast(StorageCredentials, StorageCredentials.load(name, _sync=True))  # type: ignore[call-arg]
    except RuntimeError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise _unanswered(name, error) from None
        # The form in the UI takes any field alone.
        raise ConfigError(f"storage credentials {name}: {_reasons(error.__cause__)}") from None
    except ValueError:
        raise ConfigError(
            f"storage credentials {name}: the Prefect server has no block of this name; make it "
            f"with `facenet credentials {name}`, which takes the AWS_… of your shell, or in the UI "
            "after `prefect block register --module tasks.prefect.credentials`"
        ) from None
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise _unanswered(name, error) from None


def _unanswered(name: str, error: Exception) -> FacenetError:
    return FacenetError(
        f"storage credentials {name}: the Prefect server that keeps them does not answer "
        f"({type(error).__name__}); see PREFECT_API_URL"
    )


def _reasons(error: ValidationError) -> str:
    problems = [
        (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_input=False, include_url=False)
    ]
    return "; ".join(f"{field}: {text}" if field else text for field, text in problems)
