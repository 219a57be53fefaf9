"""Promotions that a rollout on live traffic asks for."""

from __future__ import annotations

from contextlib import suppress

from headrace.errors import Conflict, NotFound, Refused
from headrace.events import RolloutChanged
from headrace.runtime.bus import Event, Tx
from services.registry.api.promotions import Asked, request_promotion
from services.registry.domain.names import CHAMPION
from services.registry.store import aliases, models


async def on_rollout_changed(event: Event[RolloutChanged], tx: Tx) -> None:
    """Ask for the promotion that a rollout has shown to be safe; the policy still decides.

    What cannot be promoted any more (the champion moved, the version is gone) is left alone.
    """
    data = event.data
    if data.action != "promote":
        return
    with suppress(NotFound, Refused, Conflict):
        await _ask(event, tx)


async def _ask(event: Event[RolloutChanged], tx: Tx) -> None:
    data = event.data
    model = await models.lock(tx.connection, project=data.project, name=data.model)
    champion = await aliases.holder(tx.connection, model=model, alias=CHAMPION)
    if champion != data.champion_version:
        return
    asked = Asked(
        model=data.model,
        version=data.version,
        requested_by=f"rollout of {data.author}"[:250],
        comment=f"rollout {data.rollout_id}",
        proven_live=data.reason,
    )
    await request_promotion(tx, project=data.project, asked=asked, now=event.time)
