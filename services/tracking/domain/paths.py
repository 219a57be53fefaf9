"""Artifact paths: which are safe, and where they lie in the bucket."""

from __future__ import annotations

import ntpath
import posixpath
import re
from typing import Final
from urllib.parse import unquote

from headrace.errors import InvalidInput

ROOT: Final = "artifacts/"
SCHEME: Final = "mlflow-artifacts:/"
MAX_PATH: Final = 900
_MAX_ENCODED: Final = 4 * MAX_PATH
_DRIVE: Final = re.compile(r"^[a-zA-Z]:")
_NEVER: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffd#\\\\]")
"""Control characters, halves of characters, what stands for undecodable bytes, `#` and `\\`."""


def safe_path(path: str) -> str:
    """The decoded relative path ("" is the root). Raises InvalidInput `Invalid path`.

    Decoding is repeated until nothing changes, so that no encoding hides a way out.
    """
    if len(path) > _MAX_ENCODED:
        raise _invalid()
    decoded = path
    while (once := unquote(decoded)) != decoded:
        decoded = once
    unsafe = (
        _NEVER.search(decoded) is not None
        or decoded.startswith("/")
        or ".." in decoded.split("/")
        or _DRIVE.match(decoded) is not None
        or len(decoded.encode()) > MAX_PATH
    )
    if unsafe:
        raise _invalid()
    normal = posixpath.normpath(decoded) if decoded else ""
    return "" if normal == "." else normal


def file_path(path: str) -> str:
    """A safe path that names a file, not the root. Raises InvalidInput."""
    safe = safe_path(path)
    if not safe:
        raise _invalid()
    return safe


def uploaded_path(directory: str, local_path: str) -> str:
    """Where a file goes that a client sends in parts. Raises InvalidInput `Invalid path`.

    Clients before 3.18 name the file by its path on their machine, be it POSIX or Windows: only
    its base name counts.
    """
    name = safe_path(ntpath.basename(local_path))
    if not name or "/" in name:
        raise _invalid()
    return file_path(posixpath.join(safe_path(directory), name))


def key_of(path: str) -> str:
    """Where a safe path lies in the bucket."""
    return f"{ROOT}{path}"


def path_of_uri(uri: str, relative: str = "") -> str:
    """The safe path of something below an `mlflow-artifacts:/` URI."""
    if not uri.startswith(SCHEME):
        raise InvalidInput(f"artifact location {uri!r}: expected {SCHEME}...", field="artifact_uri")
    root = safe_path(uri.removeprefix(SCHEME).lstrip("/"))
    return posixpath.join(root, relative) if relative else root


def own_prefix(uri: str, *, run_id: str) -> str | None:
    """The prefix in the bucket that holds a run's files and nothing else; None if there is none.

    The files of a run may lie elsewhere, or in a place that others share.
    """
    try:
        path = path_of_uri(uri)
    except InvalidInput:
        return None
    return f"{key_of(path)}/" if run_id in path.split("/") else None


def _invalid() -> InvalidInput:
    return InvalidInput("Invalid path", field="path")
