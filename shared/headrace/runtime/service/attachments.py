"""A stored file as a download: never shown inside a page, its type by its name."""

from __future__ import annotations

import mimetypes
import posixpath
from typing import Final
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from headrace.runtime.blobs import Blobs

_TEXTS: Final = """
txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md
rst ipynb MLmodel MLproject
"""


def attachment(blobs: Blobs, key: str, *, size: int, name: str) -> Response:
    """Stream an object of `size` bytes to somebody who asked for the file `name`."""
    return StreamingResponse(
        blobs.stream(key),
        media_type=media_type(name),
        headers=attachment_headers(size=size, name=name),
    )


def attachment_headers(*, size: int, name: str) -> dict[str, str]:
    """What says that `size` bytes are the file `name`, to be kept and not shown."""
    return {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "X-Content-Type-Options": "nosniff",
    }


def media_type(name: str) -> str:
    """Plain text for what people read, else what the ending of the name means."""
    ending = posixpath.splitext(name)[1].removeprefix(".") or name
    if ending in _TEXTS.split():
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
