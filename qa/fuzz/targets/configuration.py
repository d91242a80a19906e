"""What people write: configuration, schedules, identity patterns, the catalogue, addresses."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from hypothesis import strategies as st

from facenet_core import config, storage
from facenet_core.datasets.fetch import catalogue
from facenet_core.datasets.members import Member
from facenet_core.datasets.rows import RowMaker, RowRules
from facenet_core.errors import FacenetError
from facenet_core.privacy import url_secrets
from facenet_core.training import schedules

from ..target import Target

_REPOSITORY = Path(__file__).resolve().parents[3]
_JPEG = b"\xff\xd8\xff\xe0"
_BOMB = b"a: &a [x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (b, b, *[a] * 7)
    for a, b in zip(b"abcdefgh", b"bcdefghi", strict=True)
)
_RECURSIVE = b"train: &t\n  freeze: [*t]\ningest: &i {source: *i}\n"
_PYTHON = b"train: !!python/object/apply:os.system ['touch escaped']\n"


def configurations() -> list[bytes]:
    files = sorted((_REPOSITORY / "configs").glob("*.yaml"))
    return [*(file.read_bytes() for file in files), _BOMB, _RECURSIVE, _PYTHON]


def read_configuration(data: bytes, folder: Path) -> None:
    (folder / "config.yaml").write_bytes(data)
    settings = config.load(folder / "config.yaml")
    for section in (settings.ingest, settings.align, settings.train, settings.validation):
        storage.fingerprint(section.determining())  # JSON, whatever was read


def yaml_files() -> st.SearchStrategy[bytes]:
    """Sections and fields that exist, with values of any kind."""
    sections = {"ingest": config.IngestConfig, "align": config.AlignConfig}
    sections |= {"train": config.TrainConfig, "validate": config.ValidateConfig}
    sections |= {"cluster": config.ClusterConfig, "nonsense": config.AlignConfig}
    values = st.one_of(
        st.sampled_from(
            ["", "~", "[]", "{}", "-1", "0", "1e999", ".nan", "true", "auto", "2024-01-01"]
        ),
        st.sampled_from(["&a [*a]", "*a", "&a x", "!!binary aGk=", "!!set {a}", "[[1]]", "{1: 2}"]),
        st.sampled_from(
            ["../x", "s3://b/k", "https://u:p@h/x?token=1", '"\\u0000"', "0x10", "1_0"]
        ),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=8).map(repr),
    )

    def section(item: tuple[str, type[config.Config]]) -> st.SearchStrategy[str]:
        name, model = item
        fields = st.sampled_from([*model.model_fields, "unknown"])
        lines = st.lists(st.tuples(fields, values), max_size=4)
        return lines.map(lambda ls: f"{name}:\n" + "".join(f"  {k}: {v}\n" for k, v in ls))

    result = st.lists(
        st.sampled_from(sorted(sections.items(), key=str)).flatmap(section), max_size=3
    )
    return result.map("".join).map(lambda text: text.encode("utf-8", "replace"))


def overrides() -> st.SearchStrategy[bytes]:
    names = st.sampled_from(["train.max_nrof_epochs", "ingest.source", "storage", "align", "a.b.c"])
    values = st.sampled_from(
        ["3", "", "[", "{", "&a [*a]", "~", "a=b", "!!python/name:os.system", "\0"]
    )
    return st.tuples(names, values).map("=".join).map(str.encode)


def read_override(data: bytes, folder: Path) -> None:
    config.load(None, [data.decode("utf-8", "replace")])


def read_schedule(data: bytes, folder: Path) -> None:
    (folder / "rates.txt").write_bytes(data)
    schedule = schedules.read(str(folder / "rates.txt"))
    assert schedule == schedules.parse(schedule.text(), "again")
    epochs = schedule.epochs(20)
    rates = schedules.Rates(schedule, 10, max(epochs, 1), decay_factor=0.9)
    for epoch in range(epochs):
        assert rates.at(10 * epoch) > 0 or schedule.rate(epoch + 1) is not None


def schedule_files() -> st.SearchStrategy[bytes]:
    numbers = st.sampled_from(
        ["0", "1", "60", "-1", "-", "1e-3", "0.05", "inf", "nan", "1e999", "9" * 400]
    )
    line = st.tuples(numbers, st.sampled_from([":", ": ", "", "::", " : "]), numbers).map("".join)
    tail = st.sampled_from(["", " # rate", "\r", "\x0b", "\u2028"])
    lines = st.lists(st.tuples(line, tail).map("".join), max_size=6)
    return lines.map("\n".join).map(str.encode)


# A pattern, and a path of an archive that it meets, one line each.
_PATTERNS = (
    b"^([^_]+)_\nfaces/Ann_0001.jpg",
    b"(?P<identity>id\\d+)/\nid0042/1.jpg",
    b"^(a+)+$\n" + b"a" * 60 + b"!",
    b"(.*)*_(\\d)$\n" + b"x" * 200,
    b"^((\\w+\\s?)*)$\n" + b"word " * 40 + b"!",
    b"(x+x+)+y\n" + b"x" * 64,
)


def read_pattern(data: bytes, folder: Path) -> None:
    pattern, _, path = data.decode("utf-8", "replace").partition("\n")
    rules = RowRules("input", wrapped=False, max_pixels=10**8, identity_pattern=pattern)
    list(RowMaker(rules).rows([Member(path or "Ann/1.jpg", _JPEG)]))


def patterns() -> st.SearchStrategy[bytes]:
    words = st.sampled_from(
        [
            "(",
            ")",
            "(?:",
            "(?P<identity>",
            ")+",
            ")*",
            ")*?",
            "+",
            "*",
            "?",
            "a",
            "a|aa",
            "|",
            ".",
            "\\w",
            "\\d+",
            "[^/]",
            "[a-",
            "]",
            "{2,9}",
            "{1,999999}",
            "$",
            "^",
            "\\1",
            "(?=",
            "(?<=",
            "\\b",
            "/",
        ]
    )
    path = st.sampled_from(["a" * 50 + "!", "a/" * 30 + "b.jpg", "aa" * 500, "Ann/Ann_0001.jpg"])
    pattern = st.lists(words, min_size=1, max_size=10).map("".join)
    return st.tuples(st.just("(a?)") | st.just(""), pattern, st.just("\n"), path).map(
        lambda parts: "".join(parts).encode()
    )


def read_catalogue(data: bytes, folder: Path) -> None:
    (folder / "own.yaml").write_bytes(data)
    for name, entry in catalogue.read_catalogue(str(folder / "own.yaml")).items():
        for file in (entry.archive, *entry.files):
            assert file is None or os.sep not in file.name, name


def catalogues() -> list[bytes]:
    own = Path(catalogue.__file__).with_name("catalogue.yaml").read_bytes()
    small = (
        b"faces:\n  title: Faces\n  archive: {name: a.tgz, urls: ['https://h/a.tgz'], bytes: 5}\n"
    )
    return [small, own, _BOMB, _RECURSIVE, _PYTHON]


_REFUSALS = (FacenetError, ValueError)  # the latter of the standard library, here in the target


def read_address(data: bytes, folder: Path) -> None:
    """Whatever is shown of an address holds none of its secrets."""
    address = data.decode("utf-8", "replace")
    for learnt in (url_secrets._whole, url_secrets._secrets, url_secrets._lengths):
        learnt.clear()
    hidden = url_secrets.hide(address)
    assert url_secrets.whole(hidden) == address
    user = urlsplit(address).netloc.rpartition("@")[0] if "://" in address else ""
    assert ":" not in user or user not in hidden, hidden
    assert url_secrets.public(hidden) == hidden
    text = url_secrets.scrub(f"cannot fetch {address}: refused")
    assert ":" not in user or user not in text, text


_ADDRESSES = (
    b"https://user:hunter2pass@host/faces.tgz?X-Amz-Signature=abc&size=3#part",
    b"s3://bucket/key?x#y",
    b"https://host/a?token=s3cr3t",
    b"https://[::1]:80/a",
    b"ftp://user:hunter2pass@host/a.tgz",
    b"/data/faces.tgz",
)


def urls() -> st.SearchStrategy[bytes]:
    words = ["https://", "http:", "//", "ftp://", "user", ":", "hunter2pass", "@", "host", "[", "]"]
    words += [
        "/",
        "?",
        "&",
        "=",
        "token",
        "sig",
        "#",
        "%",
        "%2e%2e/",
        "..",
        "\\",
        "\t",
        "é",
        "\u2100",
    ]
    return st.lists(st.sampled_from(words), max_size=14).map("".join).map(str.encode)


TARGETS = (
    Target("configuration", read_configuration, configurations, 5, text=True, drawn=yaml_files),
    Target(
        "overrides",
        read_override,
        lambda: [b"train.max_nrof_epochs=3"],
        2,
        text=True,
        drawn=overrides,
    ),
    Target(
        "schedule",
        read_schedule,
        lambda: [b"# epoch: rate\n0: 0.05\n60: 0.005\n91: -1\n", b"1: 0.1\n20: -\n"],
        weight=5,
        text=True,
        drawn=schedule_files,
    ),
    Target("identity pattern", read_pattern, lambda: list(_PATTERNS), 3, text=True, drawn=patterns),
    Target("catalogue", read_catalogue, catalogues, weight=2, text=True),
    Target("address", read_address, lambda: list(_ADDRESSES), 3, _REFUSALS, text=True, drawn=urls),
)
