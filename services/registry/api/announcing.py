"""Writing down what webhooks are told of, in the transaction of the change itself."""

from __future__ import annotations

from datetime import datetime

from headrace.runtime.bus import Tx
from services.registry.domain.deliveries import GIVE_UP_AFTER, body_of
from services.registry.domain.webhooks import Announcement
from services.registry.store import deliveries


async def announce(
    tx: Tx, announcement: Announcement | None, *, project: str, now: datetime
) -> None:
    """Have every webhook told that asks for it; None is told to nobody."""
    if announcement is None:
        return
    await deliveries.add(
        tx.connection,
        project=project,
        event=announcement.event,
        body=body_of(announcement, now=now),
        now=now,
        give_up_after=GIVE_UP_AFTER,
    )
