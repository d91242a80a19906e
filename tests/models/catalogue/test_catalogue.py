"""Published models by name: fetched, checked and imported, once."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from facenet_core import FaceEmbedder, storage
from facenet_core.errors import ConfigError, ModelError
from facenet_core.fetch.download import Patience, fetch
from facenet_core.housekeeping.promotion import resolve
from facenet_core.models import catalogue
from flows.cli.main import main
from tests.support import tf1_models
from tests.support.scripted_server import Served, serving

NAME = "20170101-000000"
PAGE = Served(
    b"<html>Google Drive - Virus scan warning</html>",
    headers={"Content-Type": "text/html; charset=utf-8"},
)
MISSING = Served(b"", status=404)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A published archive, with what an operating system left in it."""
    folder = tmp_path_factory.mktemp("published")
    file = tf1_models.write_frozen(folder / f"{NAME}.pb", tf1_models.squeezenet_shapes())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("__MACOSX/._20170101-000000.pb", b"x")
        packed.write(file, f"{NAME}/{NAME}.pb")
    return stream.getvalue()


@pytest.fixture
def served(archive: bytes) -> Served:
    return Served(archive)


@pytest.fixture
def publish(archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a site's catalogue of one model, and lets downloads not wait."""
    hurried = partial(fetch, patience=Patience(tries=2, pause=0), sleep=lambda seconds: None)
    monkeypatch.setattr(catalogue, "fetch", hurried)

    def write(*urls: str, **file: object) -> None:
        file = {"name": f"{NAME}.zip", "urls": list(urls), "sha256": _sha256(archive), **file}
        model = {
            "title": "A model of ours",
            "network": "squeezenet",
            "dimensions": 8,
            "fixed_image_standardization": False,
            "alignment": {"image_size": 32, "margin": 5},
            "trained_on": "badges",
            "obtain": "the zip archive from the model's keeper",
            "files": [file],
        }
        path = tmp_path / "models.yaml"
        path.write_text(yaml.safe_dump({NAME: model}))
        monkeypatch.setenv("FACENET_MODEL_CATALOGUE", str(path))

    return write


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_model_by_name_is_fetched_and_imported_once(publish, served, root):
    with serving(served) as server:
        publish(server.url)
        uri = resolve(root, NAME, "train")
        storage.remove(f"{root}/downloads")
        assert resolve(root, NAME, "train") == uri
        assert resolve(root, f"{NAME}.zip", "train") == uri
    assert len(server.requests) == 1
    details = storage.open_artifact(uri, "train").details
    assert details["alignment"] == {"image_size": 32, "crop": "original", "margin": 5}
    assert details["catalogue"] == NAME
    assert not details["use_fixed_image_standardization"]


def test_a_download_that_was_cut_goes_on_where_it_stopped(publish, served, root):
    with serving(replace(served, cut_after=100_000), served) as server:
        publish(server.url)
        resolve(root, NAME, "train")
    assert server.requests[1].headers["Range"] == "bytes=100000-"


@pytest.mark.parametrize(
    "wrong", [PAGE, MISSING, Served(b"another file")], ids=["page", "missing", "digest"]
)
def test_where_one_address_gives_something_else_the_mirror_is_asked(publish, served, root, wrong):
    with serving(wrong) as first, serving(served) as mirror:
        publish(first.url, mirror.url)
        assert storage.read_manifest(resolve(root, NAME, "train")) is not None
    assert (len(first.requests), len(mirror.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (PAGE, "a web page, not a file: one to log in, or to confirm the download"),
        (MISSING, "HTTP 404"),
        (Served(b"another file"), "another file than expected"),
    ],
    ids=["page", "missing", "digest"],
)
def test_where_no_address_works_the_message_says_what_to_obtain_and_where_to_put_it(
    publish, root, answer, message
):
    with serving(answer) as server:
        publish(server.url)
        with pytest.raises(ModelError, match=message) as raised:
            resolve(root, NAME, "train")
    assert "obtain the zip archive from the model's keeper; put it at" in str(raised.value)
    assert f"{root}/downloads/models/{NAME}/{NAME}.zip" in str(raised.value)
    assert not storage.exists(f"{root}/models")


def test_a_page_that_calls_itself_a_file_is_an_error_where_no_digest_is_known(publish, root):
    with serving(Served(PAGE.data)) as server:
        publish(server.url, sha256=None)
        with pytest.raises(ModelError, match="not a zip archive that can be read"):
            resolve(root, NAME, "train")
    assert not storage.exists(f"{root}/models")


def test_a_file_that_was_put_where_it_belongs_is_used(publish, archive, root):
    publish("http://127.0.0.1:1/gone")
    path = Path(root, "downloads", "models", NAME, f"{NAME}.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(archive)
    assert storage.read_manifest(resolve(root, NAME, "train")) is not None
    storage.remove(f"{root}/models")
    path.write_bytes(archive[:-1])
    with pytest.raises(ModelError, match=r"its SHA-256 is .*remove it"):
        resolve(root, NAME, "train")


@pytest.mark.parametrize("wrong", ["20180402-11475", "facenet_kers.h5", "2018402-114759.zip"])
def test_a_name_nearly_right_is_answered_with_those_like_it(wrong, root):
    with pytest.raises(ModelError, match=r"did you mean .*(20180402-114759|facenet_keras\.h5)"):
        resolve(root, wrong, "train")


def test_what_exists_under_a_name_takes_precedence(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("20180402-114759").mkdir()
    assert resolve(root, "20180402-114759", "train") == "20180402-114759"
    assert resolve(root, "20180402-114759", "ingest") == "20180402-114759"


def test_an_embedder_takes_a_name_and_crops_as_the_catalogue_says(publish, served, root):
    with serving(served) as server:
        publish(server.url)
        embedder = FaceEmbedder(NAME, root=root, engine="keras")
        crops = np.zeros((1, 32, 32, 3), np.uint8)
        assert embedder.embed_crops(crops).shape == (1, 8)
    assert (embedder.alignment.image_size, embedder.alignment.margin) == (32, 5)


def test_the_built_in_models_say_what_is_known_of_them():
    models = catalogue.read_models()
    published = {
        "20170511-185253": (128, False, 0.987),
        "20170512-110547": (128, False, 0.992),
        "20180408-102900": (512, True, 0.9905),
        "20180402-114759": (512, True, 0.9965),
    }
    stated = {
        name: (model.dimensions, model.fixed_image_standardization, model.accuracy)
        for name, model in models.items()
    }
    assert stated.items() >= published.items()
    for name in published:
        assert models[name].files[0].sha256
        assert (models[name].alignment.image_size, models[name].alignment.margin) == (160, 32)


def test_the_command_lists_the_models_and_tells_more_of_one(capsys):
    assert main(["models", "--json"]) == 0
    assert "20180402-114759" in json.loads(capsys.readouterr().out)
    assert main(["models"]) == 0
    assert "0.9965" in capsys.readouterr().out
    assert main(["models", "20180402-114759"]) == 0
    assert "281cebca8662831adb987a874bdcb36e" in capsys.readouterr().out
    assert main(["models", "20180402"]) == 2
    assert "known: 20180408-102900, 20180402-114759" in capsys.readouterr().err


def test_a_site_s_catalogue_names_the_field_that_is_wrong(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("badges: {title: Ours, dimensions: many}")
    with pytest.raises(ConfigError, match=r"models\.yaml, badges.*dimensions"):
        catalogue.read_models(str(path))
