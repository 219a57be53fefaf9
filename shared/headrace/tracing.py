"""W3C Trace Context: one trace id along a chain of causes, a new span id at each hop."""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")


class Hop(NamedTuple):
    """The parts of a `traceparent`, in hexadecimal."""

    trace: str
    span: str
    flags: str


def parse(traceparent: str | None) -> Hop | None:
    """The parts of a `traceparent`; None for one that is missing or malformed."""
    given = _TRACEPARENT.match(traceparent) if traceparent else None
    return Hop(*given.groups()) if given else None


def next_hop(traceparent: str | None) -> str:
    """The `traceparent` of what is caused by `traceparent`, or of a new trace."""
    given = parse(traceparent)
    trace = given.trace if given else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"
