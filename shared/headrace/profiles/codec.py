"""Versioned documents as compressed JSON: exact for floats, the same bytes for the same content."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import Permanent

VERSION = 1
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024


def pack(kind: str, content: Mapping[str, Any]) -> bytes:
    document = {"format": kind, "version": VERSION, "content": content}
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), level=6)


def unpack(kind: str, data: bytes) -> Mapping[str, Any]:
    """The packed content; Permanent when `data` is another format, damaged or out of bounds."""
    document = _parse(kind, data)
    if not isinstance(document, dict) or document.get("format") != kind:
        raise Permanent(f"these bytes are not a {kind} document")
    if document.get("version") != VERSION:
        raise Permanent(f"{kind} version {document.get('version')} is unknown; this is {VERSION}")
    content = document.get("content")
    if not isinstance(content, dict):
        raise Permanent(f"{kind} document has no content")
    return content


def _parse(kind: str, data: bytes) -> object:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MAX_DOCUMENT_BYTES)
        if not inflate.eof:
            raise Permanent(f"{kind} document is cut short or over {MAX_DOCUMENT_BYTES} bytes")
        return json.loads(text)
    except (zlib.error, ValueError) as error:
        raise Permanent(f"these bytes are not a {kind} document: {error}") from error
