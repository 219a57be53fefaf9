"""What an alias points to now, said on the state topic in the transaction that changed it."""

from __future__ import annotations

import contextlib

from headrace.errors import NotFound
from headrace.events import ModelAliasState
from headrace.runtime.bus import Bus, Tx
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import earlier_champion
from services.registry.domain.records import Model
from services.registry.store import aliases, conversions, models, versions


async def tell(tx: Tx, *, model: Model, alias: str) -> None:
    """Say where an alias of a locked model points, or that it is gone."""
    step = await aliases.as_of(tx.connection, model=model, alias=alias, moment=None)
    if step is None or step.version is None or step.cause == "delete":
        tell_gone(tx, model=model, alias=alias)
        return
    version = await versions.get(
        tx.connection, project=model.project, name=model.name, version=step.version
    )
    tx.emit(
        ModelAliasState(
            project=model.project,
            model=model.name,
            alias=alias,
            version=version.version,
            previous_version=step.previous_version,
            rollback_version=await _rollback_version(tx, model, alias),
            cause=step.cause,
            request_id=step.request_id,
            digest=version.digest,
            files=list(await versions.files(tx.connection, version_id=version.id)),
            converted=await conversions.files(tx.connection, version_id=version.id),
            moved_at=step.moved_at,
            promoted_event=step.event_id,
        ),
        correlation_id=step.correlation_id,
        causation_id=step.event_id,
    )
    await aliases.note_told(tx.connection, model=model, alias=alias)


def tell_gone(tx: Tx, *, model: Model, alias: str) -> None:
    """Say that an alias points to nothing any more."""
    tx.tombstone(ModelAliasState, model.project, model.name, alias)


async def tell_untold(bus: Bus, *, project: str) -> int:
    """Say where the aliases point that no state record tells of; returns how many there were.

    Such are those that moved before there was a state topic. To have all of them told again,
    after the topic was lost, clear `alias.state_told` and start the registry.
    """
    async with bus.transaction() as tx:
        untold = await aliases.untold(tx.connection, project=project)
    for name, alias in untold:
        with contextlib.suppress(NotFound):
            async with bus.transaction() as tx:
                model = await models.lock(tx.connection, project=project, name=name)
                await tell(tx, model=model, alias=alias)
    return len(untold)


async def _rollback_version(tx: Tx, model: Model, alias: str) -> int | None:
    if alias != CHAMPION:
        return None
    return earlier_champion(
        await aliases.history(tx.connection, model=model, alias=alias),
        live=await versions.live_numbers(tx.connection, model=model),
    )
