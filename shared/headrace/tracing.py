"""W3C Trace Context: one trace id along a chain of causes, a new span id at each hop."""

from __future__ import annotations

import secrets


def next_hop(traceparent: str | None) -> str:
    """The `traceparent` of what is caused by `traceparent`, or of a new trace."""
    trace = traceparent.split("-")[1] if traceparent else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"
