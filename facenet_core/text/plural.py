"""Counts with their noun, for messages and pages."""


def plural(count: int, one: str, many: str = "") -> str:
    """`1 pair`, `2,000 pairs`; `many` is the plural if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
