"""Topics on a broker are as the table says."""

from __future__ import annotations

from headrace.runtime.bus import apply_topics, check_topics


async def test_a_broker_that_was_provisioned_does_not_drift(kafka: str) -> None:
    """Retention and compaction included: the broker is asked for what it holds."""
    assert await apply_topics(kafka) == []
    assert await check_topics(kafka) == []
