"""Promotions that rollouts and experiments on live traffic ask for."""

from __future__ import annotations

from contextlib import suppress

from headrace.errors import Conflict, NotFound, Refused
from headrace.events import ExperimentChanged, RolloutChanged
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
    asked = Asked(
        model=data.model,
        version=data.version,
        requested_by=f"rollout of {data.author}"[:250],
        comment=f"rollout {data.rollout_id}",
        proven_live=data.reason,
    )
    await _ask(event, tx, asked, beside=data.champion_version)


async def on_experiment_changed(event: Event[ExperimentChanged], tx: Tx) -> None:
    """Ask for the promotion of an experiment's winner; one that is not proven to be better waits.

    What cannot be promoted any more is left alone.
    """
    data = event.data
    if data.action != "conclude" or data.winner_version is None:
        return
    asked = Asked(
        model=data.model,
        version=data.winner_version,
        requested_by=f"experiment of {data.author}"[:250],
        comment=f"experiment {data.experiment}: {data.reason}",
        proven_live=f"experiment {data.experiment}: {data.reason}" if data.proven else None,
    )
    await _ask(event, tx, asked, beside=data.champion_version)


async def _ask(
    event: Event[RolloutChanged] | Event[ExperimentChanged], tx: Tx, asked: Asked, *, beside: int
) -> None:
    with suppress(NotFound, Refused, Conflict):
        project = event.data.project
        model = await models.lock(tx.connection, project=project, name=asked.model)
        champion = await aliases.holder(tx.connection, model=model, alias=CHAMPION)
        if champion == beside:
            await request_promotion(tx, project=project, asked=asked, now=event.time)
