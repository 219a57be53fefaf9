"""Byte ranges that a reader asks for."""

from __future__ import annotations

import re
from typing import Final

_SINGLE: Final = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


def single_range(header: str | None) -> str | None:
    """One range of bytes as S3 takes it, or None: whoever asks otherwise gets the whole file.

    A server may ignore a Range that is malformed or names several (RFC 9110, section 14.2).
    """
    match = _SINGLE.fullmatch((header or "").strip())
    if match is None:
        return None
    first, last = match.groups()
    if first is None and last is None:
        return None
    if first is not None and last is not None and int(last) < int(first):
        return None
    return match.group()
