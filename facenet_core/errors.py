"""The tree of errors. A message names the input, what was expected and what to do.

The command line prints the message alone and ends with `exit_status`. Secrets in
URLs are removed from a message when the error is created, so no code that passes it on has to.
"""

from __future__ import annotations

from facenet_core.privacy.url_secrets import scrub


class FacenetError(Exception):
    """Anything that goes wrong for a reason the user can act on."""

    exit_status = 1
    retryable = False  # whether trying again can succeed

    def __init__(self, *args: object) -> None:
        super().__init__(*(scrub(text) if isinstance(text, str) else text for text in args))


class ConfigError(FacenetError):
    """A configuration file, field or command-line option is wrong."""

    exit_status = 2


class SourceError(FacenetError):
    """A data set to ingest is missing, broken or empty."""


class StorageError(FacenetError):
    """A storage root cannot be reached, read or written."""

    retryable = True


class AccessError(StorageError):
    """Storage refuses access permanently: wrong credentials, no permission, no such bucket."""

    retryable = False


class TooLarge(StorageError):
    """A file is larger than any valid file of its kind, whatever size was claimed."""

    retryable = False


class NotAFile(StorageError):
    """A pipe, device or socket stands where a file was expected."""

    retryable = False


class ArtifactError(FacenetError):
    """A stage's output is missing, unfinished, damaged or of another kind."""


class ModelError(ArtifactError):
    """A model's file is missing, damaged, too large, or of an unknown kind."""


class ShardError(FacenetError):
    """An unexpected error occurred while a shard was processed."""

    retryable = True


class AccountingError(FacenetError):
    """Some images became neither crops nor rejects."""


class PairsError(FacenetError):
    """A pairs file is malformed or names images that do not exist."""


class TrainingError(FacenetError):
    """Training cannot start or continue with this data or these settings."""
