"""Artifact paths: which are safe, and where they lie in the bucket."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import unquote

from headrace.errors import InvalidInput

ROOT: Final = "artifacts/"
SCHEME: Final = "mlflow-artifacts:/"
MAX_PATH: Final = 900
_DRIVE: Final = re.compile(r"^[a-zA-Z]:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def safe_path(path: str) -> str:
    """The decoded relative path ("" is the root). Raises InvalidInput `Invalid path`.

    Decoding is repeated until nothing changes, so that no encoding hides a way out.
    """
    decoded = path
    while (once := unquote(decoded)) != decoded:
        decoded = once
    unsafe = (
        "#" in decoded
        or "\\" in decoded
        or decoded.startswith("/")
        or ".." in decoded.split("/")
        or _DRIVE.match(decoded) is not None
        or _CONTROL.search(decoded) is not None
        or len(decoded.encode(errors="replace")) > MAX_PATH
    )
    if unsafe:
        raise InvalidInput("Invalid path", field="path")
    normal = posixpath.normpath(decoded) if decoded else ""
    return "" if normal == "." else normal


def file_path(path: str) -> str:
    """A safe path that names a file, not the root. Raises InvalidInput."""
    safe = safe_path(path)
    if not safe:
        raise InvalidInput("Invalid path", field="path")
    return safe


def key_of(path: str) -> str:
    """Where a safe path lies in the bucket."""
    return f"{ROOT}{path}"


def path_of_uri(uri: str, relative: str = "") -> str:
    """The safe path of something below an `mlflow-artifacts:/` URI."""
    if not uri.startswith(SCHEME):
        raise InvalidInput(f"artifact location {uri!r}: expected {SCHEME}...", field="artifact_uri")
    root = safe_path(uri.removeprefix(SCHEME).lstrip("/"))
    return posixpath.join(root, relative) if relative else root
