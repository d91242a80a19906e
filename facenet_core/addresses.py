"""Addresses that carry credentials: what of them may be shown, stored and logged.

`https://user:password@host/faces.tgz?X-Amz-Signature=…` becomes `https://host/faces.tgz` in every
configuration, manifest, log and message. The whole address stays in this process's memory alone.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from facenet_core.errors import ConfigError

_SECRET_NAMES = re.compile(
    r"sig|token|key|secret|cred|passw|pwd|auth(?!or)|expires|policy|hash|hmac|jwt|session|^x-|^s[eprtv]$"
    r"|^sk[a-z]*$|^spr$",
    re.IGNORECASE,
)
_PLAIN_VALUE = re.compile(r"[\w .,/-]{0,32}")
# Secret keys of Amazon's may hold a slash, where urllib sees the host end. Buckets have no colon.
_S3_USER = re.compile(r"(s3a?)://(?:[^/@:]*:.*|[^/@]*)@(.*)", re.IGNORECASE | re.DOTALL)
_whole: dict[str, str] = {}  # by what is shown of them


def public(address: str) -> str:
    """The address without user, password, fragment, and parameters that may be secrets."""
    parts = _split(address)
    if parts is None or parts.scheme not in ("http", "https"):
        return _without_keys(address) or address
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _SECRET_NAMES.search(name) and _PLAIN_VALUE.fullmatch(value)
    ]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(query), ""))


def refuse_credentials(uri: str) -> None:
    """Object stores take their credentials from the environment, where nothing records them.

    Raises:
        ConfigError: `s3://key:secret@bucket` and the like; the message doesn't repeat them.
    """
    bare = _without_keys(uri)
    if bare is not None and not bare.lower().startswith(("ftp://", "sftp://")):
        scheme, _, place = re.split("[?#]", bare)[0].partition("://")  # a token may follow
        raise ConfigError(
            f"{scheme}://…@{place}: credentials don't belong into a URI, which is "
            "logged and stored; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )


def remember(address: str) -> str:
    """Keep the whole address in memory; returns what of it may be shown."""
    shown = public(address)
    if shown != address:
        _whole[shown] = address
    return shown


def whole(shown: str) -> str:
    """The address that `remember` was given, or `shown` itself."""
    return _whole.get(shown, shown)


def scrub(text: str) -> str:
    """A message of another library, without the credentials that are known here."""
    for shown, address in _whole.items():
        text = text.replace(address, shown)
        parts = _split(address)
        if parts is not None:
            user = parts.netloc.rpartition("@")[0]
            values = [value for _, value in parse_qsl(parts.query)]
            secrets = [user, parts.password or "", parts.query, *values]
            kept = urlsplit(shown).query
            for secret in sorted(filter(None, secrets), key=len, reverse=True):
                if len(secret) > 3 and secret not in kept:
                    text = text.replace(secret, "…")
    return text


def _without_keys(uri: str) -> str | None:
    """A URI of a store without the keys that stand in it; None where there are none, or on the web.

    Parameters stay: keys of object stores may hold `?` and `#`.
    """
    if found := _S3_USER.match(uri):
        return f"{found[1]}://{found[2]}"
    parts = _split(uri)
    if parts is None or parts.scheme in ("http", "https"):
        return None
    user, at, _ = parts.netloc.rpartition("@")
    return uri.replace(user + at, "", 1) if ":" in user else None


def _split(address: str) -> SplitResult | None:
    if "://" not in address:
        return None
    try:
        return urlsplit(address)
    except ValueError:
        return None
