"""Secrets in addresses: what of an address, and of a text, may be shown, stored and logged.

`https://user:password@host/faces.tgz?X-Amz-Signature=…` becomes `https://host/faces.tgz` where an
address enters: in configurations, options and parameters of flows (`hide`). The whole address
stays in this process's memory alone, for `storage.file_system`, which opens it (`whole`).

Texts that libraries write lose their secrets where they leave: every FacenetError, whatever flows
and tasks raise (`without_secrets`), log records, and the terminal (`scrub`).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

# Parts of the names of parameters that are secret, or of no use without one that is.
SECRET_WORDS = (
    *("sig", "token", "key", "secret", "cred", "passw", "pwd", "expires", "policy"),
    *("hash", "hmac", "jwt", "session", "accessid", "x-amz-", "x-goog-", "x-ms-"),
)
_SECRET_NAME = re.compile(
    "|".join(SECRET_WORDS) + r"|auth(?!or)|^x-|^s[eprtv]$|^sk[a-z]*$|^spr$", re.IGNORECASE
)
_SIGNED = re.compile(r"[?&](?:x-(?:amz|goog|ms)-\w+|sig|signature)=", re.IGNORECASE)
_PLAIN = re.compile(r"[\w .,/:()-]{0,32}")
_IDENTIFIER = 32  # characters; a longer value of a parameter may be a token, whatever its name
# Secret keys of Amazon's may hold a slash, where a URI's host would end. Buckets have no colon.
_S3_USER = re.compile(r"(s3a?)://(?:[^/@:]*:.*|[^/@]*)@(.*)", re.IGNORECASE | re.DOTALL)
# Before the host; or with a slash in the password, which a port is never followed by.
_USER = re.compile(r"(?<=://)(?:[^/?#]*|[^/@:]*:(?!\d{0,5}[/?#])[^@]*)@", re.DOTALL)
_IN_TEXT = re.compile(r"[A-Za-z0-9+.-]{0,30}://[^\s\"'<>\\]*[^\s\"'<>\\.,:;!)\]}]")
_PARAMETER = re.compile(r"([?&][^\s=&?#\"']{1,64}=)([^\s&\"'<>)]+)")
_SECRET_VARIABLE = re.compile(
    r"(?:AWS|AZURE|FSSPEC|GCS|GOOGLE|PREFECT)_(?!.*(?:_FILE|_PATH)$)"
    r".*(?:KEY|SECRET|TOKEN|PASSWORD|AUTH_STRING|CONNECTION_STRING)"
)
_NOT_A_STORE = re.compile("https?|s?ftps?", re.IGNORECASE)
_LONGEST_TEXT = 2**20  # characters
_SHORTEST = 4  # a shorter secret stays where it stands outside of an address
_WORD = 8  # shorter ones are taken out as whole words only, parameters and variables not at all

_whole: dict[str, str] = {}  # by what is shown of them
_published: set[str] = set()  # addresses in which nothing is secret
_secrets: set[str] = set()
_lengths: dict[str, list[int]] = {}  # of secrets by their first characters, the longest first


def public(address: str) -> str:
    """The address without user, password, fragment, and parameters that may be secrets.

    A parameter of a harmless name and a long value shows a digest of it, so that the addresses of
    many pictures stay as many.
    """
    return "::".join(_dissect(part)[0] for part in address.split("::"))


def hide(address: str) -> str:
    """What may be shown of an address; the whole of it is kept in memory.

    Raises:
        ConfigError: as `refuse_credentials`.
    """
    refuse_credentials(address)
    clean = public(address)
    if clean != address:
        _whole[clean] = address
        learn(address)
    return clean


def publish(text: str) -> None:
    """Show the addresses in a text of the project's own whole from now on."""
    _published.update(_IN_TEXT.findall(text))


def hide_all(value: Any) -> Any:
    """A value without what is secret in its addresses, as `hide`."""
    return in_depth(hide, value)


def whole_all(value: Any) -> Any:
    """The value that `hide_all` was given."""
    return in_depth(whole, value)


def in_depth(change: Callable[[str], str], value: Any) -> Any:
    """A value with all texts in it changed, however deep they lie in lists and mappings."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: in_depth(change, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(in_depth(change, item) for item in value)
    return value


def whole(clean: str) -> str:
    """The address that `hide` was given, also of something below it; or `clean` itself."""
    if not _whole or "://" not in clean:
        return clean
    above = clean
    while above not in _whole:
        above, slash, _ = above.rpartition("/")
        if not slash or above.endswith("/"):
            return clean
    if above == clean:
        return _whole[above]
    parts = urlsplit(_whole[above])
    below = clean[len(above) :]
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + below))


def hidden() -> dict[str, str]:
    """The whole addresses by what is shown of them, for `recall` in another process."""
    return dict(_whole)


def recall(addresses: Mapping[str, str]) -> None:
    """Know the addresses that another process has hidden."""
    for address in addresses.values():
        hide(address)


def refuse_credentials(uri: str) -> None:
    """Object stores take their credentials from the environment, where nothing records them.

    Raises:
        ConfigError: `s3://key:secret@bucket` and the like; the message doesn't repeat them.
    """
    from facenet_core.errors import ConfigError  # whose messages are scrubbed here

    for part in uri.split("::"):
        scheme, separator, _ = part.partition("://")
        if not separator or _NOT_A_STORE.fullmatch(scheme):
            continue
        if public(part) != part or _SIGNED.search(part):
            bucket = re.split("[?#]", public(part))[0].partition("://")[2]
            raise ConfigError(
                f"{scheme}://…@{bucket}: credentials don't belong into a URI, which is "
                "logged and stored; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )


def learn(address: str) -> None:
    """Know the secrets of an address, for `scrub`."""
    for secret in _dissect(address)[1]:
        if secret not in _secrets:
            _secrets.add(secret)
            lengths = {len(secret), *_lengths.get(secret[:_SHORTEST], ())}
            _lengths[secret[:_SHORTEST]] = sorted(lengths, reverse=True)
            _scrub_logs()


def scrub(text: str) -> str:
    """A text without the secrets of the addresses in it, of those learnt, and of the environment.

    Takes time in proportion to the text, however many secrets are known. Of more than 2^20
    characters the middle is left out.
    """
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} … ({len(text):,} characters) … {text[-half:]}"
    for secret in sorted(_of_environment(), key=len, reverse=True):
        text = text.replace(secret, "…")
    text = _without_learnt(text)
    text = _IN_TEXT.sub(lambda match: public(match[0]), text)
    return _PARAMETER.sub(
        lambda match: f"{match[1]}…" if _SECRET_NAME.search(match[1][1:-1]) else match[0], text
    )


@contextmanager
def without_secrets() -> Iterator[None]:
    """Take secrets out of what is raised here and of what is logged. Also a decorator.

    An error whose message, notes or causes hold any is raised again without its causes; one that
    is no FacenetError becomes a ShardError, which may be tried again as well.
    """
    from facenet_core.errors import FacenetError, ShardError

    _scrub_logs()
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if scrub(text) == text:
            raise
        if isinstance(error, FacenetError):
            clean = type(error).__new__(type(error), *map(scrub, map(str, error.args)))
            clean.__dict__.update(vars(error))
        else:
            clean = ShardError(f"{type(error).__name__}: {error}")
        clean.__notes__ = [scrub(note) for note in getattr(error, "__notes__", [])]
        raise clean from None


def _dissect(address: str) -> tuple[str, list[str]]:
    """What may be shown of one address, and the secrets in it."""
    scheme, separator, _ = address.partition("://")
    if not separator or address in _published:
        return address, []
    web = scheme.lower().endswith(("http", "https"))
    secrets: list[str] = []
    if match := _S3_USER.fullmatch(address):
        user = address[len(match[1]) + 3 : len(address) - len(match[2]) - 1]
        address = f"{match[1]}://{match[2]}"
        secrets += _of_user(user)
    while (match := _USER.search(address)) and (web or ":" in match[0]):
        address = address[: match.start()] + address[match.end() :]
        secrets += _of_user(match[0][:-1])
    if not web:  # keys of object stores may hold `?` and `#`
        return address, secrets
    address, _, fragment = address.partition("#")
    path, mark, query = address.partition("?")
    parameters = []
    for parameter in query.split("&") if mark else ():
        name, _, value = parameter.partition("=")
        name, plain = unquote_plus(name), unquote_plus(value)
        if _SECRET_NAME.search(name) or not _PLAIN.fullmatch(name):
            secrets += [text for text in (value, plain) if len(text) >= _WORD]
        elif _PLAIN.fullmatch(plain):
            parameters.append(parameter)
        else:
            secrets += [text for text in (value, plain) if len(text) >= _WORD]
            if len(plain) > _IDENTIFIER:
                digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
                parameters.append(f"{parameter.partition('=')[0]}=sha256-{digest[:8]}")
    if len(fragment) >= _WORD and "=" in fragment:
        secrets.append(fragment.partition("=")[2])
    return path + ("?" + "&".join(parameters) if parameters else ""), secrets


def _of_user(user: str) -> list[str]:
    """The secrets of `name:password`, or of a token that stands alone."""
    plain = unquote(user)
    basic = base64.b64encode(plain.encode("utf-8", "replace")).decode()
    texts = {user, plain, user.partition(":")[2], plain.partition(":")[2], basic}
    return [text for text in texts if len(text) >= _SHORTEST]


def _of_environment() -> set[str]:
    """The secrets in variables of the environment: keys and tokens, and users in addresses."""
    secrets = set()
    for name, value in os.environ.items():
        if "@" in value and "://" in value:
            secrets |= {text for text in _dissect(value)[1] if len(text) >= _WORD}
        elif len(value) >= _WORD and _SECRET_VARIABLE.match(name):
            secrets.add(value)
    return secrets


def _without_learnt(text: str) -> str:
    if not _lengths:
        return text
    pieces, start, position = [], 0, 0
    while position <= len(text) - _SHORTEST:
        for length in _lengths.get(text[position : position + _SHORTEST], ()):
            end = position + length
            if text[position:end] in _secrets and (
                length >= _WORD or _is_word(text, position, end)
            ):
                pieces += [text[start:position], "…"]
                start = position = end
                break
        else:
            position += 1
    return "".join(pieces) + text[start:]


def _is_word(text: str, start: int, end: int) -> bool:
    return not text[max(start - 1, 0) : start].isalnum() and not text[end : end + 1].isalnum()


def _scrub_logs() -> None:
    """Take secrets out of all that this process logs from here on."""
    make = logging.getLogRecordFactory()
    if getattr(make, "scrubs", False):
        return

    def make_scrubbed(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # logging itself says so
            return record
        if (clean := scrub(message)) != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (clean := scrub(text)) != text:
                record.exc_info, record.exc_text = None, clean
        return record

    make_scrubbed.scrubs = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_scrubbed)
