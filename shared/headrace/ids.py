"""Identifiers: UUID version 7, ordered by time of birth (RFC 9562, section 5.7)."""

from __future__ import annotations

import secrets
import time
from typing import Final

_RANDOM_BITS: Final = (2**12 - 1) << 64 | 2**62 - 1


def new_id() -> str:
    """A new UUIDv7 as text."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """So many new UUIDv7 of one millisecond, in no order among themselves."""
    milliseconds = time.time_ns() // 1_000_000 & (2**48 - 1)
    stem = milliseconds << 80 | 0x7 << 76 | 0b10 << 62
    chance = secrets.token_bytes(10 * count)
    return [
        _text(stem | int.from_bytes(chance[at : at + 10], "big") & _RANDOM_BITS)
        for at in range(0, len(chance), 10)
    ]


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
