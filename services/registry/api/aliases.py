"""MLflow's alias calls: every alias is free but the champion's."""

from __future__ import annotations

from datetime import datetime

from headrace.runtime.bus import Tx
from services.registry.api import alias_states
from services.registry.api.announcing import announce
from services.registry.api.champions import champion_stays, correlation_of, protected
from services.registry.api.promotions import Asked, request_promotion
from services.registry.domain.announcements import alias_moved
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import AliasMove
from services.registry.store import aliases, models, promotions, versions


async def set_alias(
    tx: Tx, *, project: str, name: str, alias: str, version: int, actor: str, now: datetime
) -> None:
    """MLflow's alias call: free for every alias but `champion`, which it may set once.

    Raises Refused naming the promotion endpoint for a champion that must be asked for.
    """
    model = await models.lock(tx.connection, project=project, name=name)
    await versions.get(tx.connection, project=project, name=name, version=version)
    holder = await aliases.holder(tx.connection, model=model, alias=alias)
    if holder == version:
        return
    if alias == CHAMPION:
        policy = await promotions.policy(tx.connection, project=project, model=name)
        if holder is not None or policy is not None:
            raise protected(name, version)
        asked = Asked(model=name, version=version, requested_by=actor, comment="alias set")
        await request_promotion(tx, project=project, asked=asked, now=now)
        return
    await aliases.put(
        tx.connection, model=model, move=_free_move(tx, alias, version, holder, actor, now)
    )
    await alias_states.tell(tx, model=model, alias=alias)
    await announce(tx, alias_moved(model, alias, version), project=project, now=now)


async def delete_alias(
    tx: Tx, *, project: str, name: str, alias: str, actor: str, now: datetime
) -> None:
    """Take an alias away; nothing happens if there is none. Raises Refused for `champion`."""
    model = await models.lock(tx.connection, project=project, name=name)
    holder = await aliases.holder(tx.connection, model=model, alias=alias)
    if holder is None:
        return
    if alias == CHAMPION:
        raise champion_stays(name, "its alias cannot be taken away")
    await aliases.put(
        tx.connection, model=model, move=_free_move(tx, alias, None, holder, actor, now)
    )
    alias_states.tell_gone(tx, model=model, alias=alias)
    await announce(tx, alias_moved(model, alias, None), project=project, now=now)


def _free_move(
    tx: Tx, alias: str, version: int | None, holder: int | None, actor: str, now: datetime
) -> AliasMove:
    return AliasMove(
        alias=alias,
        version=version,
        previous_version=holder,
        cause="delete" if version is None else "set",
        actor=actor,
        request_id=None,
        event_id=None,
        correlation_id=correlation_of(tx),
        moved_at=now,
    )
