"""A directory seen through a flat list of paths."""

from __future__ import annotations

from collections.abc import Iterable


def children(below: Iterable[tuple[str, int]]) -> list[tuple[str, int | None]]:
    """What lies directly in a directory: name, and size or None for a directory; by name.

    `below` are the paths, relative to the directory, of all files under it.
    """
    found: dict[str, int | None] = {}
    for path, size in below:
        name, slash, _ = path.partition("/")
        if name:
            found[name] = None if slash else size
    return sorted(found.items())
