"""What the workers that are here counted of an arm; one that died takes its counts along."""

from __future__ import annotations

from collections.abc import Sequence

from services.serving.domain.traffic import Counts
from services.serving.link.messages import Status


def arm_counts(statuses: Sequence[Status], model: str, table: int, arm: str) -> Counts:
    """Requests, failures and slow answers of an arm since the table is in force."""
    seen = (
        each
        for status in statuses
        for entry in status.models
        if entry.name == model and entry.table == table
        for each in entry.arms
        if each.arm == arm
    )
    return sum(
        (Counts(requests=each.requests, failures=each.failures, slow=each.slow) for each in seen),
        Counts(),
    )
