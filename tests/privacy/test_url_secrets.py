"""What is secret in addresses is shown, logged and raised nowhere, and still opens them."""

from __future__ import annotations

import logging
import re
from typing import Annotated

import pytest
from pydantic import TypeAdapter

from facenet_core import config
from facenet_core.errors import AccessError, ConfigError, FacenetError, ShardError
from facenet_core.models.catalogue import read_models
from facenet_core.privacy import url_secrets
from facenet_core.storage import Input
from facenet_core.storage.retrying import reported

SECRET = "canary-7f3a91c2"


@pytest.fixture(autouse=True)
def nothing_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_whole", "_lengths"):
        monkeypatch.setattr(url_secrets, name, {})
    monkeypatch.setattr(url_secrets, "_secrets", set())


ADDRESSES = {
    f"https://ann:{SECRET}@h/a.jpg": "https://h/a.jpg",
    f"https://{SECRET}@h/a.jpg": "https://h/a.jpg",
    f"https://ann:half/{SECRET}@h/a.jpg": "https://h/a.jpg",
    f"https://ann:a@{SECRET}@h:8080/a@2x.jpg": "https://h:8080/a@2x.jpg",
    f"https://h/a?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}&part=2": "https://h/a?part=2",
    f"https://a.blob.core.windows.net/c/b?sv=2024-01-01&sp=r&sig={SECRET}%3D": (
        "https://a.blob.core.windows.net/c/b"
    ),
    f"https://h/b?X-Goog-Algorithm=GOOG4&X-Goog-Signature={SECRET}": "https://h/b",
    f"https://h/b?GoogleAccessId={SECRET}&Expires=1&Signature={SECRET}": "https://h/b",
    f"https://h/a#access_token={SECRET}": "https://h/a",
    f"ftp://ann:{SECRET}@h/a.tgz": "ftp://h/a.tgz",
    f"simplecache::https://ann:{SECRET}@h/a": "simplecache::https://h/a",
    f"zip://a.jpg::https://h/a.zip?sig={SECRET}": "zip://a.jpg::https://h/a.zip",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_secrets_and_opened_with_them(address: str) -> None:
    hidden = url_secrets.hide(address)
    assert hidden == ADDRESSES[address]
    assert url_secrets.hide(hidden) == hidden
    assert url_secrets.whole(hidden) == address


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "text", ["GET {} failed", "[Errno 2] No such file: '{}'", '("{}", 3): {}; and {}.']
)
def test_a_text_loses_the_secrets_of_addresses_that_nobody_stripped(
    address: str, text: str
) -> None:
    assert SECRET not in url_secrets.scrub(text.replace("{}", address))


@pytest.mark.parametrize(
    "address",
    [
        "https://h/a.jpg?id=7&size=large",
        "https://h:8080/a@2x.jpg",
        "https://h/p?file=a(1).jpg&at=12:30",
        "abfs://container@account.dfs.core.windows.net/faces",
        "s3://bucket/a?b#c",
        "sftp://ann@h/a",
        "C:\\faces",
        "/data/a::b",
    ],
)
def test_an_address_without_secrets_stays_as_it_is(address: str) -> None:
    assert url_secrets.hide(address) == address
    assert url_secrets.scrub(f"see {address}: missing") == f"see {address}: missing"


def test_long_parameters_of_harmless_names_keep_addresses_apart() -> None:
    hidden = {url_secrets.public(f"https://h/get?image={number:040d}") for number in range(100)}
    assert len(hidden) == 100
    assert all(re.fullmatch(r"https://h/get\?image=sha256-[0-9a-f]{8}", one) for one in hidden)


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://key:half/{SECRET}@bucket/a",
        f"s3://bucket/a?X-Amz-Signature={SECRET}",
        f"gs://ann:{SECRET}@bucket/a",
        f"az://container/a?sv=1&sig={SECRET}",
        f"simplecache::s3://key:{SECRET}@bucket/a",
    ],
)
def test_stores_take_no_secrets_in_a_uri(uri: str) -> None:
    with pytest.raises(ConfigError, match="credentials don't belong into a URI") as caught:
        url_secrets.hide(uri)
    assert SECRET not in str(caught.value)


def test_what_lies_below_an_address_is_opened_with_its_secrets() -> None:
    root = url_secrets.hide(f"https://ann:{SECRET}@h/store?sig={SECRET}")
    below = url_secrets.whole(f"{root}/models/faces/manifest.json")
    assert below == f"https://ann:{SECRET}@h/store/models/faces/manifest.json?sig={SECRET}"
    assert url_secrets.whole("https://h/other") == "https://h/other"


def test_secrets_that_libraries_show_in_other_ways_are_taken_out_of_texts() -> None:
    url_secrets.hide(f"https://ann:p%40{SECRET}@h/a?X-Amz-Signature=abcdef0123456789")
    basic = "YW5uOnBAY2FuYXJ5LTdmM2E5MWMy"
    for text in (f"user ann, password p@{SECRET}", f"Basic {basic}", "GET /a?x=abcdef0123456789"):
        assert "…" in url_secrets.scrub(text)
        assert not re.search(f"{SECRET}|{basic}|abcdef", url_secrets.scrub(text))
    assert url_secrets.scrub(f"GET /b.jpg?X-Goog-Signature={SECRET} 404") == (
        "GET /b.jpg?X-Goog-Signature=… 404"
    )


def test_short_passwords_go_as_whole_words_only() -> None:
    url_secrets.hide("https://ann:face@h/a")
    assert url_secrets.scrub("face is wrong, faces are many") == "… is wrong, faces are many"


def test_the_secrets_of_a_hundred_thousand_addresses_are_found_in_one_pass() -> None:
    for number in range(100_000):
        url_secrets.learn(f"https://h/{number}.jpg?token=every-one-{number:06d}")
    text = " ".join(f"every-one-{number:06d}" for number in range(0, 2_000_000, 400))
    left = re.findall(r"every-one-\d+", url_secrets.scrub(text))
    assert left[0] == "every-one-100000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", f"http://ann:{SECRET}@127.0.0.1:9"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AZURE_STORAGE_CONNECTION_STRING", SECRET),
        ("https_proxy", f"http://ann:{SECRET}@proxy:3128"),
    ],
)
def test_secrets_of_the_environment_are_taken_out_of_texts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert SECRET not in url_secrets.scrub(f"cannot connect to {value}, as {SECRET}")


def test_a_store_that_does_not_answer_is_named_without_the_users_of_its_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://ann:{SECRET}@127.0.0.1:9")
    text = r"the store \(http://127.0.0.1:9\)"
    with pytest.raises(FacenetError, match=text) as caught, reported("s3://bucket/a", "read"):
        raise ConnectionError("refused")
    assert SECRET not in str(caught.value)


def test_every_error_of_ours_is_made_without_secrets() -> None:
    error = AccessError(f"https://ann:{SECRET}@h/a: cannot be read")
    assert str(error) == "https://h/a: cannot be read"


def test_whatever_is_raised_loses_the_causes_that_hold_secrets() -> None:
    @url_secrets.without_secrets()
    def fails(kind: type[Exception]) -> None:
        try:
            raise OSError(f"https://ann:{SECRET}@h/a")
        except OSError as error:
            raise kind("https://h/a: cannot be read") from error

    for kind, raised in ((AccessError, AccessError), (KeyError, ShardError)):
        with pytest.raises(raised, match="cannot be read") as caught:
            fails(kind)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    with pytest.raises(KeyError):
        url_secrets.without_secrets()(lambda: {}["name"])()


def test_log_records_of_every_library_lose_secrets(caplog: pytest.LogCaptureFixture) -> None:
    url_secrets.hide(f"https://ann:{SECRET}@h/a")
    try:
        raise OSError(f"password {SECRET}")
    except OSError:
        logging.getLogger("somebody.else").exception("GET %s", f"https://ann:{SECRET}@h/a")
    assert "GET https://h/a" in caplog.text
    assert SECRET not in caplog.text


def test_a_manifest_of_an_earlier_version_is_read_without_secrets() -> None:
    assert Input(f"https://ann:{SECRET}@h/a.tgz", "0").uri == "https://h/a.tgz"


def test_every_field_that_holds_a_path_takes_secrets_out() -> None:
    for model in vars(config).values():
        if not (isinstance(model, type) and issubclass(model, config.Config)):
            continue
        for name, field in model.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("path"):
                value = f"https://ann:{SECRET}@h/a?sig={SECRET}"
                kind = Annotated[field.annotation, None, *field.metadata]
                assert TypeAdapter(kind).validate_python(value) == "https://h/a", name


def test_options_of_a_dask_cluster_are_recorded_without_secrets_and_used_with_them() -> None:
    address = f"https://ann:{SECRET}@gateway"
    made = config.ClusterConfig(cluster_class="a.B", cluster_options={"at": [address]})
    assert made.cluster_options == {"at": ["https://gateway"]}
    assert url_secrets.whole_all(made.cluster_options) == {"at": [address]}


@pytest.mark.parametrize("address", [a for a in ADDRESSES if "::" not in a and "#" not in a])
def test_the_schema_of_deployments_refuses_what_would_be_stripped(address: str) -> None:
    pattern = config.Uri.__metadata__[-1].json_schema_extra["not"]["pattern"]
    assert re.search(pattern, address)
    assert not re.search(pattern, ADDRESSES[address])


def test_the_addresses_of_the_catalogues_are_shown_whole() -> None:
    addresses = [url for model in read_models().values() for f in model.files for url in f.urls]
    assert len(addresses) > 4
    assert [url_secrets.public(address) for address in addresses] == addresses
    elsewhere = f"https://h/get?image={'a' * 33}"
    assert url_secrets.public(elsewhere) != elsewhere
