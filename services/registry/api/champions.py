"""How a champion comes and goes: the alias, its history, the events. Lock the model before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from headrace.errors import Conflict, Refused
from headrace.events import ModelPromoted, PromotionDecided
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from services.registry.api import alias_states
from services.registry.api.announcing import announce
from services.registry.domain.announcements import alias_moved
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import (
    AliasMove,
    Request,
    State,
    move,
    outcome_of,
    rollback_target,
)
from services.registry.domain.records import Model, Version
from services.registry.store import aliases, conversions, models, promotions, versions


async def promote(tx: Tx, model: Model, version: Version, request: Request, now: datetime) -> None:
    """Apply an approved request and tell of it."""
    step = AliasMove(
        alias=request.alias,
        version=version.version,
        previous_version=request.expected_champion,
        cause="promotion",
        actor=request.decided_by or request.requested_by,
        request_id=request.id,
        event_id=request.promoted_event_id,
        correlation_id=request.correlation_id,
        moved_at=now,
    )
    await _apply(tx, model, version, step, causation_id=request.decided_event_id)


async def roll_back(
    tx: Tx, *, project: str, name: str, requested_by: str, expected: int | None, now: datetime
) -> AliasMove:
    """Back to the champion before; `expected` None or the champion that is to be taken back.

    Raises Conflict when another is champion, or there is nowhere to go.
    """
    model = await models.lock(tx.connection, project=project, name=name)
    champion = await aliases.holder(tx.connection, model=model, alias=CHAMPION)
    if expected is not None and expected != champion:
        raise Conflict(f"the champion is version {champion}, not {expected}: it moved already")
    target = rollback_target(
        await aliases.history(tx.connection, model=model, alias=CHAMPION),
        live=await versions.live_numbers(tx.connection, model=model),
    )
    version = await versions.get(tx.connection, project=project, name=name, version=target)
    step = AliasMove(
        alias=CHAMPION,
        version=target,
        previous_version=champion,
        cause="rollback",
        actor=requested_by,
        request_id=None,
        event_id=new_id(),
        correlation_id=correlation_of(tx),
        moved_at=now,
    )
    await _apply(tx, model, version, step, causation_id=None)
    return step


async def close_waiting(
    tx: Tx, *, model: Model, reason: str, now: datetime, version: int | None = None
) -> None:
    """Supersede what waits for a model, or for one of its versions."""
    for request in await promotions.waiting(tx.connection, model=model, alias=CHAMPION):
        if version is not None and request.version != version:
            continue
        closed = replace(
            request,
            state=move(request.state, State.SUPERSEDED),
            automatic=True,
            reason=f"superseded: {reason}",
            decided_at=now,
            decided_event_id=new_id(),
        )
        await promotions.decide(tx.connection, request=closed)
        tell_decided(tx, closed)


def tell_decided(tx: Tx, request: Request) -> None:
    """Emit how a request stands, caused by its PromotionRequested."""
    tx.emit(
        PromotionDecided(
            project=request.project,
            request_id=request.id,
            model=request.model,
            version=request.version,
            alias=request.alias,
            outcome=outcome_of(request.state),
            automatic=request.automatic,
            approver=request.decided_by,
            reason=request.reason,
            evidence=request.evidence,
        ),
        correlation_id=request.correlation_id,
        causation_id=request.requested_event_id,
        event_id=request.decided_event_id,
    )


def protected(name: str, version: int) -> Refused:
    """Why the alias call may not move the champion, and where to ask instead."""
    return Refused(
        f"alias '{CHAMPION}' of model {name} is protected; ask for a promotion with POST "
        f"/api/registry/v1/models/{name}/versions/{version}/promotion-requests"
    )


def champion_stays(name: str, what: str) -> Refused:
    """Why something may not be done to a model or version that is champion."""
    return Refused(f"model {name} has a champion that serving answers with: {what}")


def correlation_of(tx: Tx) -> str:
    """Loop turn that the caller of this transaction belongs to."""
    return tx.caller.correlation_id if tx.caller else new_id()


async def _apply(
    tx: Tx, model: Model, version: Version, step: AliasMove, *, causation_id: str | None
) -> None:
    promoted_at = await aliases.put(tx.connection, model=model, move=step)
    await models.touch(tx.connection, model=model, now=step.moved_at)
    tx.emit(
        ModelPromoted(
            project=model.project,
            model=model.name,
            version=version.version,
            alias=step.alias,
            previous_version=step.previous_version,
            cause="rollback" if step.cause == "rollback" else "promotion",
            request_id=step.request_id,
            digest=version.digest or "",
            files=list(await versions.files(tx.connection, version_id=version.id)),
            converted=await conversions.files(tx.connection, version_id=version.id),
            promoted_at=promoted_at,
        ),
        correlation_id=step.correlation_id,
        causation_id=causation_id,
        event_id=step.event_id,
    )
    await alias_states.tell(tx, model=model, alias=step.alias)
    moved = alias_moved(model, step.alias, version.version)
    await announce(tx, moved, project=model.project, now=step.moved_at)
    await close_waiting(
        tx,
        model=model,
        reason=f"version {version.version} became {step.alias}",
        now=step.moved_at,
    )
