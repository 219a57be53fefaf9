"""Identifiers: UUID version 7, ordered by time of birth (RFC 9562, section 5.7)."""

from __future__ import annotations

import secrets
import time
from typing import Final

_RANDOM_BITS: Final = (2**12 - 1) << 64 | 2**62 - 1


def new_id() -> str:
    """A new UUIDv7 as text."""
    milliseconds = time.time_ns() // 1_000_000 & (2**48 - 1)
    chance = int.from_bytes(secrets.token_bytes(10), "big") & _RANDOM_BITS
    digits = f"{milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | chance:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
