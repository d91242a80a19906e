"""Clients of object stores: the one place that says how long they wait and whose keys they use.

Credentials, endpoint, profile and region come from the standard environment of each store
(AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, AWS_REGION …), never from a URI.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from facenet_core.errors import StorageError
from facenet_core.privacy import url_secrets

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 30.0  # of silence
# Requests of one client side by side: reading threads, each with several ranges.
CONNECTIONS = 32
# Tries of one request by the client itself: it waits up to 1, 2 and 4 seconds, drawn at random.
REQUEST_TRIES = 4

_SCHEME = re.compile(r"((?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def is_address(uri: str) -> bool:
    """Whether files at a URI are downloaded before they are used, not read where they are."""
    return uri.partition("://")[0].lower() in ("http", "https", "ftp", "ftps")


def file_system(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path within it, with the secrets of a stripped address.

    Raises:
        ConfigError: credentials stand in the URI.
        StorageError: the protocol is unknown or its package is not installed.
    """
    url_secrets.refuse_credentials(uri)
    uri = url_secrets.whole(uri)
    if (path := local_path(uri)) is not None:
        return LocalFileSystem(), path
    try:
        if uri.startswith(("s3://", "s3a://")):
            client = _s3(tuple(sorted(kv for kv in os.environ.items() if _concerns_s3(kv[0]))))
            return client, client._strip_protocol(uri)
        if uri.startswith(("http://", "https://")):
            from facenet_core.storage.http import HTTPFileSystem  # brings aiohttp

            return HTTPFileSystem(), uri
        # Not fsspec's `url_to_fs`: it takes `::` anywhere in a URI for a chain of file systems.
        protocol = uri.partition("://")[0]
        if "::" in protocol:
            raise ValueError("it chains file systems; name the file itself")
        kind = fsspec.get_filesystem_class(protocol)
        client = fsspec.filesystem(protocol, **kind._get_kwargs_from_urls(uri))
        return client, kind._strip_protocol(uri)
    except Exception as error:  # those that wrap others raise nearly anything without them
        raise StorageError(f"{uri}: cannot be used as storage: {error}") from None


def local_path(uri: str) -> str | None:
    """The absolute path of what lies on this machine; None for what lies elsewhere.

    A path without a scheme is what it is, whatever colons and percent signs it holds. In
    `file:///…` percent signs are undone.

    Raises:
        StorageError: a `file://` URI with a host.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return os.path.join(os.getcwd(), os.path.expanduser(uri))
    if scheme[1].lower() not in LocalFileSystem.protocol:
        return None
    host, slash, path = uri[scheme.end() :].partition("/")
    if host not in ("", "localhost") or not slash:
        raise StorageError(f"{uri}: a file:// URI has three slashes before its path: file:///…")
    return "/" + unquote(path, errors="surrogateescape")


def is_local(uri: str) -> bool:
    return local_path(uri) is not None


def _concerns_s3(name: str) -> bool:
    return name.startswith(("AWS_", "FSSPEC_S3_"))


def client_options(uri: str) -> dict[str, Any]:
    """fsspec's options for a client of the store that a URI lies in; no secrets among them."""
    if not uri.startswith(("s3://", "s3a://")):
        return {}
    region = os.environ.get("AWS_REGION")  # botocore reads AWS_DEFAULT_REGION alone
    return {
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "max_pool_connections": CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": REQUEST_TRIES},
        },
        "client_kwargs": {"region_name": region} if region else {},
        "use_listings_cache": False,  # other processes write there, too
    }


# By environment: a process that is given other credentials gets another client.
@lru_cache(maxsize=4)
def _s3(environment: tuple[tuple[str, str], ...]) -> fsspec.AbstractFileSystem:
    client = fsspec.filesystem("s3", **client_options("s3://"), skip_instance_cache=True)
    # s3fs' own retries have no jitter and multiply with those of the client below it.
    client.retries = 1
    return client
