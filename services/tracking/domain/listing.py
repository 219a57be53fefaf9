"""A directory of artifacts, as the store lists it and as clients see it."""

from __future__ import annotations

from collections.abc import Iterable

Entry = tuple[str, int | None]
"""A name, and a size in bytes or None for a directory."""

MAX_ENTRIES = 100_000
"""As many as one answer holds; a directory with more is read by pages."""


def entries_of(
    prefix: str, *, directories: Iterable[str], files: Iterable[tuple[str, int]]
) -> list[Entry]:
    """What keys directly under a prefix are called there; the prefix's own key is left out."""
    found: list[Entry] = [(key.removeprefix(prefix).rstrip("/"), None) for key in directories]
    found += [(key.removeprefix(prefix), size) for key, size in files if key != prefix]
    return [(name, size) for name, size in found if name]
