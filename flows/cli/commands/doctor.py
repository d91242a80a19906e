"""what is installed, reachable and writable here, and what to do about it

Ends with status 1 where something fails that a run would need.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from facenet_core import extras
from facenet_core.errors import FacenetError
from facenet_core.privacy import url_secrets
from facenet_core.text.plural import plural
from flows.cli import options as common
from flows.cli.context import Context
from flows.cli.output import console, echo_json, fit

COMMON = (*common.ROOT, "dask_address")

_MEMORY_NEEDED = 4 * 2**30  # bytes: a training and the flow's process


@dataclass(frozen=True)
class Finding:
    """The result of one check. `remedy` says what to do unless its state is `ok`."""

    what: str
    state: Literal["ok", "note", "failed"]
    found: str
    remedy: str = ""


class Unhealthy(FacenetError):
    """Something that a run needs is not there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass  # the storage root and the Dask address are common options


def run(options: argparse.Namespace, context: Context) -> None:
    settings = context.settings
    checks: list[Callable[[], Iterator[Finding]]] = [
        _machine,
        _packages,
        _detector,
        _models,
        _training,
        lambda: _storage(context.root, settings.storage_credentials),
        _prefect,
        lambda: _dask(settings.cluster.dask_address),
    ]
    findings = [finding for check in checks for finding in check()]
    if context.json:
        echo_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    failed = [finding.what for finding in findings if finding.state == "failed"]
    if failed:
        raise Unhealthy(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")


def _machine() -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    yield Finding("machine", "ok", f"{platform.platform(terse=True)}, {cores} cores")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= _MEMORY_NEEDED
    remedy = "" if enough else "use --workers 1, a small batch_size, or a larger machine"
    yield Finding("memory", "ok" if enough else "note", _size(memory), remedy)
    yield Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def _packages() -> Iterator[Finding]:
    from facenet_core import storage

    versions = storage.made_by()
    yield Finding("packages", "ok", ", ".join(f"{name} {v}" for name, v in versions.items()))


def _detector() -> Iterator[Finding]:
    from facenet_core.alignment.mtcnn.networks import load_networks

    try:
        runtime = extras.detector_runtime()
        load_networks(runtime)
    except FacenetError as error:
        yield Finding("detector", "failed", str(error), "see the message")
    except Exception as error:  # each broken library raises its own kinds
        yield Finding("detector", "failed", f"{type(error).__name__}: {error}", "reinstall it")
    else:
        note = "" if runtime == "openvino" else f"{extras.install('use')}: faster on a CPU"
        yield Finding("detector", "note" if note else "ok", f"runs on {runtime}", note)


def _models() -> Iterator[Finding]:
    from facenet_core.models.runtimes import check_engine, prefers_openvino

    try:
        check_engine("auto")
    except FacenetError as error:
        yield Finding("models", "failed", str(error), "see the message")
        return
    others = "keras" if extras.has_keras() else "onnxruntime"
    yield Finding("models", "ok", f"run on {'openvino' if prefers_openvino() else others}")


def _training() -> Iterator[Finding]:
    from facenet_core.runtime import quietly

    if not extras.has_keras():
        remedy = f"to train, or export a model: {extras.install('cpu')}, or the extra gpu or jax"
        yield Finding("training", "note", "no Keras with TensorFlow or JAX", remedy)
        return
    try:
        with quietly():
            import keras

            from facenet_core.training.engine.devices import has_gpu

            name, gpu = keras.backend.backend(), has_gpu()
    except Exception as error:
        remedy = f"reinstall Keras and its backend: {extras.install('cpu')}"
        yield Finding("training", "failed", f"{type(error).__name__}: {error}", remedy)
        return
    if gpu:
        yield Finding("training", "ok", f"{name} on a GPU")
    elif shutil.which("nvidia-smi"):
        remedy = "install the extra gpu, and a driver of at least the version that it asks for"
        yield Finding("training", "note", f"{name} on the CPU, though there is an NVIDIA", remedy)
    else:
        yield Finding("training", "ok", f"{name} on the CPU")


def _storage(root: str, block: str | None) -> Iterator[Finding]:
    from facenet_core import storage
    from tasks.prefect import credentials

    local = Path(storage.file_system(root)[1]) if storage.is_local(root) else None
    made = [folder for folder in (local, *local.parents) if not folder.exists()] if local else []
    try:
        credentials.use(block)
        storage.check_writable(root)
        free = f", {_size(shutil.disk_usage(local).free)} free" if local else ""
    except FacenetError as error:
        yield Finding("storage", "failed", str(error), "see the message")
        return
    finally:
        for folder in made:  # a look leaves nothing behind; what is in use by now is not empty
            with suppress(OSError):
                folder.rmdir()
    yield Finding("storage", "ok", f"{root} can be written{free}")


def _prefect() -> Iterator[Finding]:
    import httpx
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        yield Finding("Prefect", "ok", "no PREFECT_API_URL: each run has a temporary server")
        return
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        remedy = "start it (prefect server start), or mend or unset PREFECT_API_URL"
        yield Finding("Prefect", "failed", f"{url} does not answer: {error}", remedy)
        return
    yield Finding("Prefect", "ok", f"{url} answers")


def _dask(address: str | None) -> Iterator[Finding]:
    if address is None:
        yield Finding("Dask", "ok", "local workers, started with each run")
        return
    from distributed import Client

    try:
        with Client(url_secrets.whole(address), timeout=5, set_as_default=False) as client:
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
    except (OSError, TimeoutError) as error:
        remedy = "start `dask scheduler`, or leave dask_address out"
        yield Finding("Dask", "failed", f"{address} does not answer: {error}", remedy)
        return
    remedy = "" if workers else "start `dask worker ADDRESS --nthreads 1`"
    state: Literal["ok", "note"] = "ok" if workers else "note"
    yield Finding("Dask", state, f"{address}: {plural(workers, 'worker')}", remedy)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _show(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    colours = {"ok": "green", "note": "yellow", "failed": "red"}
    for finding in findings:
        text = Text(fit(finding.found))
        if finding.remedy and finding.state != "ok":
            text.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(finding.what, Text(finding.state, style=colours[finding.state]), text)
    console().print(table)
