"""A file to fetch: its addresses, its place in storage, and what is known of its content."""

from __future__ import annotations

from dataclasses import dataclass

DOWNLOADS = "downloads"  # the folder of a storage root for what was fetched


@dataclass(frozen=True)
class Wanted:
    """A file to fetch into storage.

    Attributes:
        uri: its URI in storage.
        urls: its address, then its mirrors; without credentials.
        sha256, md5, bytes: its digests and size, as far as they are known.
    """

    uri: str
    urls: tuple[str, ...]
    sha256: str | None = None
    md5: str | None = None
    bytes: int | None = None
