"""All that is fuzzed, by name."""

from __future__ import annotations

from ..target import Target
from . import archives, configuration, models, network, pairs, pictures, stored, tables

# Those that take longest come first, so that the processes end together.
TARGETS: tuple[Target, ...] = (
    *models.TARGETS,
    *network.TARGETS,
    *archives.TARGETS,
    *tables.TARGETS,
    *pictures.TARGETS,
    *stored.TARGETS,
    *pairs.TARGETS,
    *configuration.TARGETS,
)


def find(name: str) -> Target:
    """The target of a name."""
    return next(target for target in TARGETS if target.name == name)
