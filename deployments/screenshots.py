"""The pictures of docs/operations.md, of a real run: two shards fail, and Retry does them again.

    python deployments/screenshots.py [--out docs/images]

starts a site of its own (server, worker, deployments) on a free port, runs the smallest pipeline,
lets an alignment fail, retries it, and photographs the pages with a headless Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from local_site import REPOSITORY, Site, end_as_by_ctrl_c
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from facenet_core.runtime import free_port

BROKEN = (3, 8)  # shards that fail at first, numbered from 0
CONFIG = {
    "cluster": {"workers": 2},
    "ingest": {"name": "demo", "identities": 36, "images_per_identity": 6, "shards": 12},
    "align": {"image_size": 72, "margin": 20},
    "holdout": {
        "ingest": {
            "name": "demo-holdout",
            "identities": 30,
            "images_per_identity": 5,
            "first_identity": 20000,
            "shards": 4,
        }
    },
    "train": {
        "name": "demo",
        "image_size": 64,
        "epoch_size": None,
        "max_nrof_epochs": 6,
        "optimizer": "adam",
        "learning_rate": 0.005,
        "batch_norm_decay": 0.9,
        "random_crop": True,
        "random_flip": True,
    },
    "validate": {"pairs_per_fold": 20, "far_target": 0.1, "distance_metric": "cosine"},
}
SETTLES = 5.0  # seconds from its words to the last of its drawings


@dataclass(frozen=True)
class Page:
    """A page of the UI to photograph.

    Args:
        path: where it is.
        shows: words that are there when it is drawn.
        clicks: what is clicked on first, such as the name of a tab.
        width, height: pixels.
    """

    path: str
    shows: str
    clicks: tuple[str, ...] = ()
    width: int = 1400
    height: int = 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Pictures of the Prefect UI for the documentation."
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/images")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    options = parser.parse_args()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory(prefix="facenet-site-") as folder:
        site = Site(Path(folder) / "prefect", free_port(), str(Path(folder) / "store"))
        browser = Browser(options.chromium, Path(folder) / "chromium")
        try:
            site.start_server()
            site.start_worker("cpu")
            site.deploy()
            for name, page in play(site):
                picture = options.out / f"operations-{name}.png"
                browser.photograph(page, f"{site.url}/{page.path}", picture)
                print(picture, f"{picture.stat().st_size / 1000:.0f} kB", file=sys.stderr)
        finally:
            browser.close()
            site.stop()
    return 0


def play(site: Site) -> Iterator[tuple[str, Page]]:
    """Run, fail, retry. Yields pages to photograph, each when it shows what it should."""
    pipeline = site.run("pipeline/pipeline-demo", {"config": CONFIG})
    _require(site.wait(pipeline, 500), "COMPLETED")
    stages = {stage["name"].split()[0]: stage["id"] for stage in site.stages(pipeline)}
    yield "pipeline", Page(f"runs/flow-run/{pipeline}", "Beginning flow run", height=900)
    yield (
        "artifacts",
        Page(
            f"runs/flow-run/{stages['validate']}",
            "validate-demo-figures",
            ("Artifacts",),
            height=900,
        ),
    )
    deployment = site.call("GET", "deployments/name/align/align")["id"]
    yield "form", Page(f"deployments/deployment/{deployment}/run", "Image Size", height=1200)
    for name, key, words in (
        ("figures", "validate-demo-figures", "equal error rate"),
        ("crops", "align-demo-crops", "Full size"),
        ("curves", "train-demo-loss", "All figures"),
    ):
        artifacts = site.call("POST", "artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})
        yield name, Page(f"artifacts/artifact/{artifacts[0]['id']}", words, height=900)

    (raw,) = Path(site.storage).glob("raw/demo/*")
    parts = [raw / f"images/part-{number:05d}.parquet" for number in BROKEN]
    contents = [part.read_bytes() for part in parts]
    for part in parts:
        part.write_bytes(bytes(part.stat().st_size))
    parameters = {"raw": "newest:demo", "config": {"image_size": 160}, "where": {"workers": 2}}
    run = site.run("align/align", parameters)
    _require(site.wait(run), "FAILED")
    yield "failed", Page(f"runs/flow-run/{run}", "- shard 9", ("Details", "See More"), height=1150)
    for part, content in zip(parts, contents, strict=True):
        part.write_bytes(content)
    site.retry(run)
    _require(site.wait(run), "COMPLETED")
    yield "retried", Page(f"runs/flow-run/{run}", "Cached", ("Task Runs",), height=1300)


def _require(run: dict[str, Any], state: str) -> None:
    if run["state_type"] != state:
        raise RuntimeError(f"{run['name']} is {run['state_name']}: {run['state']['message']}")


class Browser:
    """A headless Chromium, spoken to over its DevTools protocol."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [
                executable, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={profile}",
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        opened = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not opened.exists() or not opened.read_text().strip():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{executable} did not open its DevTools port")
            time.sleep(0.1)
        self._port = int(opened.read_text().split()[0])

    def photograph(self, page: Page, url: str, picture: Path) -> None:
        """Open a page, choose its tab, wait until it is drawn, write it as a small PNG."""
        address = f"http://127.0.0.1:{self._port}/json/new?about:blank"
        with urlopen(Request(address, method="PUT"), timeout=30) as answer:
            target = json.loads(answer.read())
        with connect(target["webSocketDebuggerUrl"], max_size=None) as tab:
            size = {"width": page.width, "height": page.height}
            metrics = {**size, "deviceScaleFactor": 1, "mobile": False}
            _command(tab, "Emulation.setDeviceMetricsOverride", **metrics)
            _command(tab, "Page.navigate", url=url)
            for words in page.clicks:
                _until(tab, _CLICK % json.dumps(words))
            _until(tab, _SHOWS % json.dumps(page.shows))
            time.sleep(SETTLES)
            shot = _command(tab, "Page.captureScreenshot", format="png")["data"]
            _command(tab, "Page.close")
        with Image.open(io.BytesIO(base64.b64decode(shot))) as image:
            colors = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        colors.save(picture, optimize=True)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


# The innermost element with just these words, which is what a person would click on.
_CLICK = """
[...document.querySelectorAll('main *, [class*=tab] *, [class*=tab]')]
    .filter(element => !element.children.length && element.textContent.trim() === %s)
    .slice(0, 1).map(element => element.click()).length > 0
"""
_SHOWS = "document.body.innerText.includes(%s)"


def _until(tab: ClientConnection, expression: str) -> None:
    """Evaluate a script in the page again and again until it is true."""
    deadline = time.monotonic() + 60
    while not _command(tab, "Runtime.evaluate", expression=expression)["result"].get("value"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Chromium: this did not come true: {expression.strip()}")
        time.sleep(0.5)


def _command(tab: ClientConnection, method: str, **parameters: Any) -> dict[str, Any]:
    tab.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while (answer := json.loads(tab.recv(timeout=60))).get("id") != 1:
        pass
    if "error" in answer:
        raise RuntimeError(f"Chromium: {method}: {answer['error']['message']}")
    return answer["result"]


if __name__ == "__main__":
    sys.exit(main())
