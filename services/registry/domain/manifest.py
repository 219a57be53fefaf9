"""The file manifest of a model version: which files it has and what they must hash to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from headrace.events import FileRef


def manifest_digest(files: Iterable[FileRef]) -> str:
    """Digest over path, size and digest of every file; independent of order and of location.

    SHA-256 over one line `<digest> <size> <path>` a file, sorted by path.
    """
    lines = (
        f"{file.digest} {file.size} {file.path}\n"
        for file in sorted(files, key=lambda file: file.path)
    )
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
