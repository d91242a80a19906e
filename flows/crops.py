"""Crops for a model, of whatever a user has: crops, photographs, the name of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from facenet_core import storage
from facenet_core.config import AlignConfig, ClusterConfig
from facenet_core.datasets import import_bin
from facenet_core.housekeeping.promotion import resolve
from facenet_core.models.model_crops import alignment_of, warn_of_overrides
from facenet_core.storage import Manifest
from flows.align import align
from tasks.prefect.summary import Run
from tasks.validate import import_set


def crops_for(
    source: str,
    model_uri: str,
    root: str,
    where: ClusterConfig = ClusterConfig(),
    overrides: AlignConfig | None = None,
    reports: Sequence[Manifest] = (),
) -> str:
    """The URI of a crops artifact; photographs are ingested and aligned for the model first.

    Args:
        source: a crops artifact, `newest:NAME` or an InsightFace verification set (`.bin`), which
            are taken as they are; or a raw artifact, the name of a data set, or an address, folder
            or archive of photographs.
        model_uri: the model that says how its crops are made.
        root: storage root.
        where: Dask workers.
        overrides: the fields that are set replace the model's.
        reports: validations of the model, the last one first, whose crops are to be followed.

    Raises:
        SourceError: there is no such source.
    """
    if import_bin.is_set(source):
        uri = storage.absolute(source)
        plan = import_bin.plan_import(root, uri)
        if storage.finished(plan) is None:
            import_set(plan, uri, Run().record())
        return plan.uri
    overrides = overrides or AlignConfig()
    source = resolve(root, source, "align")
    crops = None if storage.is_address(source) else storage.read_manifest(source)
    if crops is not None and crops.stage == "align":
        warn_of_overrides(source, crops, overrides)
        return storage.absolute(source)
    changes = overrides.model_dump(exclude_unset=True)
    alignment = alignment_of(model_uri, reports=reports).model_copy(update=changes)
    return align(source, alignment, root, where).uri
