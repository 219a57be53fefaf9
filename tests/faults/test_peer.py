"""The proof that the checker can fail: plain FastStream breaks what the bus keeps."""

from __future__ import annotations

from collections import Counter

from tests.faults.peer import PLAN, peer_history
from tests.faults.servers import Servers
from tests.harness.history import Kind, check


async def test_plain_faststream_loses_and_doubles_effects_under_the_same_faults(
    servers: Servers,
) -> None:
    history = await peer_history(servers, PLAN)
    kinds = Counter(violation.kind for violation in check(history))
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    print(f"peer: {len(history.attempts)} events, {told}")
    assert kinds[Kind.LOST] > 0
    assert kinds[Kind.DUPLICATE] > 0
