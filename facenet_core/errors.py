"""The tree of errors. A message names the input, what was expected and what to do.

The command line prints the message alone and ends with `exit_status`. Messages lose the secrets of
addresses in them when an error is made, so that nobody who passes one on has to think of it.
"""

from __future__ import annotations

from facenet_core.privacy.url_secrets import scrub


class FacenetError(Exception):
    """Anything that goes wrong for a reason the user can act on."""

    exit_status = 1
    retryable = False  # whether doing the same again can end better

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
    """Storage that says no and would again: wrong credentials, no permission, no such bucket."""

    retryable = False


class TooLarge(StorageError):
    """A file has more bytes than any of its kind should have, whatever size was claimed."""

    retryable = False


class NotAFile(StorageError):
    """A pipe, device or socket stands where a file was expected."""

    retryable = False


class ArtifactError(FacenetError):
    """A stage's output is missing, unfinished, damaged or of another kind."""


class ModelError(ArtifactError):
    """A model's file is missing, damaged, too large, or of a kind that is not known."""


class ShardError(FacenetError):
    """Something unforeseen happened while a shard was worked on."""

    retryable = True


class AccountingError(FacenetError):
    """Images went in that came out neither as crops nor as rejects."""


class PairsError(FacenetError):
    """A pairs file is malformed or names images that are not there."""


class TrainingError(FacenetError):
    """Training cannot start or go on with this data or these settings."""
