"""Whether artifacts are what their manifests say, and the commands that show it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.errors import ConfigError
from facenet_core.housekeeping import inventory
from facenet_core.housekeeping.verification import remake, set_aside, verify
from flows.cli.commands.storage import age_of
from flows.cli.main import main
from flows.cli.output import human
from tests.support.stored import (
    CONFIG,
    Site,
    age,
    aligned,
    ingested,
    promote,
    published,
    tree,
    unfinished,
)

PART = "crops/part-00001.parquet"


def damaged(root: str) -> list[tuple[str, str]]:
    stock = verify(inventory.take(root).artifacts).damages
    return [(damage.part, damage.what) for damage in stock]


def rewrite(uri: str, change) -> None:
    storage.write_bytes(uri, change(storage.read_bytes(uri)))


def flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


@pytest.mark.parametrize(
    ("change", "what"),
    [(flip, "another content"), (lambda data: data[:-1], "bytes, expected"), (None, "missing")],
    ids=["one bit", "cut", "gone"],
)
def test_a_damaged_part_is_found_and_made_again_alone(site: Site, change, what: str) -> None:
    assert damaged(site.root) == []
    before = tree(site.crops)
    uri = storage.join(site.crops, PART)
    storage.remove(uri) if change is None else rewrite(uri, change)
    [(part, results)] = damaged(site.root)
    assert part == PART
    assert what in results
    [changed] = set_aside(verify(inventory.take(site.root).artifacts).damages)
    assert changed.uri == site.crops
    assert storage.read_manifest(site.crops) is None
    assert aligned(site.root, site.raw) == site.crops
    after = tree(site.crops)
    assert after.pop("/run.json") != before.pop("/run.json")
    assert {n for n in before if after[n] != before[n]} <= {"/manifest.json"}  # lists other URIs


def test_a_manifest_that_does_not_fit_its_parts_is_found(site: Site) -> None:
    uri = storage.join(site.crops, storage.MANIFEST)
    manifest = json.loads(storage.read_bytes(uri))
    manifest["counts"]["crops"] += 1
    manifest["parts"][-1]["rows"] += 1
    storage.write_bytes(uri, json.dumps(manifest).encode())
    [(part, rows), (_, crops), (_, rejects)] = damaged(site.root)
    assert part.startswith("rejects/")
    assert "rows, expected" in rows
    assert crops.startswith("counts crops")
    assert rejects.startswith("counts rejects")


def test_a_part_of_another_artifact_is_found(site: Site) -> None:
    other = ingested(site.root, site.archive, max_image_bytes=10**6)
    name = "images/part-00000.parquet"
    manifest = json.loads(storage.read_bytes(f"{site.raw}/manifest.json"))
    storage.copy_file(Path(other, name), f"{site.raw}/{name}")
    for part in manifest["parts"]:
        if part["name"] == name:
            part["sha256"] = storage.sha256(f"{site.raw}/{name}")
            part["bytes"] = Path(site.raw, name).stat().st_size
    storage.write_bytes(f"{site.raw}/manifest.json", json.dumps(manifest).encode())
    assert damaged(site.root) == [(name, "its footer names another artifact")]


def test_the_command_that_makes_an_artifact_again_has_its_options(site: Site) -> None:
    raw, crops = inventory.take(site.root).artifacts
    command = remake(crops)
    assert command.startswith("facenet align ")
    assert f"--image-size {CONFIG.image_size}" in command
    assert f"--margin {CONFIG.margin}" in command
    assert "--factor" not in command
    command = remake(raw)
    assert command == f"facenet ingest {site.archive} --name people"


def facenet(root: str, *words: str) -> int:
    return main(["storage", *words, "--storage", root])


def test_verify_ends_with_1_and_names_part_and_command(site: Site, capsys) -> None:
    assert facenet(site.root, "verify") == 0
    assert "nothing damaged" in capsys.readouterr().out
    rewrite(storage.join(site.crops, PART), flip)
    assert facenet(site.root, "verify", site.raw) == 0
    assert facenet(site.root, "verify", "--json") == 1
    output = capsys.readouterr()
    assert PART in output.err
    assert "facenet align" in output.err
    assert json.loads(output.out.splitlines()[-1])["damages"][0]["part"] == PART


def test_ls_shows_state_lineage_and_the_model_in_use(site: Site, capsys) -> None:
    model = published(site.root, "train", "m", [site.crops])
    promote(site.root, model)
    unfinished(site.root, "crops/half/0123456789abcdef")
    storage.write_bytes(storage.join(site.raw, "images/part-00000.parquet"), b"cut")
    assert facenet(site.root, "ls", "--tree") == 0
    lines = capsys.readouterr().out.splitlines()
    results = {line.split()[0]: line for line in lines if "/" in line.split()[0]}
    assert "damaged" in results[site.raw.removeprefix(site.root + "/")]
    assert "    models/m/" in "\n".join(lines)
    assert "finished, in use" in results[model.removeprefix(site.root + "/")]
    assert "unfinished" in results["crops/half/0123456789abcdef"]
    assert facenet(site.root, "ls", "--json") == 0
    artifacts = json.loads(capsys.readouterr().out)["artifacts"]
    crops = next(a for a in artifacts if a["uri"] == site.crops)
    assert crops["used_by"] == [model]
    assert crops["counts"]["images"] == crops["counts"]["aligned"] + crops["counts"]["rejects"]


def test_du_adds_up_to_all_that_is_there(site: Site, capsys) -> None:
    storage.write_bytes(f"{site.root}/downloads/lfw/lfw.tgz", b"x" * 1000)
    assert facenet(site.root, "du", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == sum(f.stat().st_size for f in Path(site.root).rglob("*.*"))
    assert answer["by"]["downloads"] == 1000
    assert facenet(site.root, "du") == 0
    assert "1.0 kB  downloads" in capsys.readouterr().out


def test_gc_and_forget_change_nothing_without_yes(site: Site, capsys) -> None:
    before = tree(site.root)
    assert facenet(site.root, "gc", site.crops) == 0
    assert "would go" in capsys.readouterr().out
    assert facenet(site.root, "forget", "--identity", "Ann_Lee") == 0
    assert "Nothing was changed" in capsys.readouterr().out
    assert tree(site.root) == before
    assert facenet(site.root, "forget", "--identity", "Ann_Lee", "--yes", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [one["uri"] for one in answer["rewritten"]] == [site.raw, site.crops]
    assert answer["sources"] == [str(site.archive)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gc", "--older-than", "soon"], "soon: invalid age"),
        (["ls", "--yes"], "--yes: goes with gc and forget, not ls"),
        (["forget"], "Give --identity NAME"),
    ],
)
def test_wrong_usage_is_told(root: str, words: list[str], message: str, capsys) -> None:
    assert facenet(root, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "hours"), [("7d", 168), ("2", 48), ("12h", 12), ("90m", 1.5), ("1w", 168)]
)
def test_ages(text: str, hours: float) -> None:
    assert age_of(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "-1d", "7y", "d", "1e9", "9999999d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid age"):
        age_of(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99960, "100 kB"),
        (999600, "1.0 MB"),
        (10**15, "1000 TB"),
    ],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert human(size) == shown


def test_gc_says_as_json_what_would_go_and_why(site: Site, capsys) -> None:
    half = unfinished(site.root, "crops/half/0123456789abcdef")
    age(half, days=30)
    assert facenet(site.root, "gc", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    going = [one["label"] for one in answer["verdicts"] if one["remove"]]
    assert going == ["crops/half/0123456789abcdef"]
    assert answer["removed"] is False
    assert storage.exists(half)
