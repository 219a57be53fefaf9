"""Chains of causes: as the bus has them, and as the log of runs keeps them."""

from __future__ import annotations

from headrace.runtime.bus import Caller
from services.tracking.domain.entries import Chain


def chain_of(caller: Caller | None) -> Chain | None:
    """The chain of an event's or a call's cause."""
    if caller is None:
        return None
    return Chain(
        correlation_id=caller.correlation_id,
        causation_id=caller.causation_id,
        traceparent=caller.traceparent,
    )


def caller_of(chain: Chain | None) -> Caller:
    """Who an event of a write is caused by: its chain, or nobody."""
    if chain is None:
        return Caller.none()
    return Caller(
        correlation_id=chain.correlation_id,
        causation_id=chain.causation_id,
        traceparent=chain.traceparent,
    )
