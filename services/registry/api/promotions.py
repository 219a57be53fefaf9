"""The one door through which a version becomes champion. Every function locks the model first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from headrace.errors import Conflict, Refused
from headrace.events import (
    GateEvidence,
    ModelPromoted,
    PromotionDecided,
    PromotionRequested,
)
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from headrace.runtime.db import Connection
from services.registry.domain.gate import KnownDataset, Policy, check_champion_named, judge
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import (
    AliasMove,
    Opening,
    Request,
    State,
    approve,
    move,
    open_request,
    outcome_of,
    rollback_target,
)
from services.registry.domain.records import Model, Version
from services.registry.store import aliases, datasets, models, promotions, versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who wants which version to be champion, and what speaks for it."""

    model: str
    version: int
    requested_by: str
    comment: str = ""
    evidence: GateEvidence | None = None


async def request_promotion(tx: Tx, *, project: str, asked: Asked, now: datetime) -> Request:
    """Judge a request and apply it where gate and policy allow; the same request again is one.

    Raises Conflict when the champion is not the one in the evidence, Refused when nobody ever
    verified the version's files, NotFound.
    """
    model = await models.lock(tx.connection, project=project, name=asked.model)
    version = await versions.get(
        tx.connection, project=project, name=asked.model, version=asked.version
    )
    champion = await aliases.holder(tx.connection, model=model, alias=CHAMPION)
    earlier = await _asked_before(tx.connection, version, asked, champion)
    if earlier is not None:
        return earlier
    if version.digest is None:
        raise Refused(
            f"version {version.version} of {model.name} is unverified: its files could not be "
            f"found at {version.source}; register it again from a source of this platform"
        )
    check_champion_named(asked.evidence, champion)
    policy = await promotions.policy(tx.connection, project=project, model=model.name) or Policy()
    result = judge(
        asked.evidence,
        model=model.name,
        champion=champion,
        dataset=await _known_dataset(tx.connection, project, asked.evidence),
        policy=policy,
    )
    opening = open_request(result, auto_promote=policy.auto_promote)
    request = _new_request(tx, version, asked, opening, champion, now)
    await promotions.insert(
        tx.connection, model=model, version_id=version.id, request=request, policy=policy
    )
    await _tell_requested(tx, version, request)
    _tell_decided(tx, request)
    if request.state is State.APPROVED:
        await _promote(tx, model, version, request, now)
    return request


async def decide(
    tx: Tx,
    *,
    project: str,
    request_id: str,
    approver: str,
    verdict: State,
    comment: str,
    now: datetime,
) -> Request:
    """A person approves or rejects a waiting request.

    Raises Refused for one's own request, Conflict when it is decided or the champion moved.
    """
    seen = await promotions.get(tx.connection, project=project, request_id=request_id)
    model = await models.lock(tx.connection, project=project, name=seen.model)
    request = await promotions.get(tx.connection, project=project, request_id=request_id)
    if verdict is State.APPROVED:
        state = approve(
            state=request.state,
            requested_by=request.requested_by,
            approver=approver,
            expected=request.expected_champion,
            champion=await aliases.holder(tx.connection, model=model, alias=request.alias),
        )
    else:
        state = move(request.state, verdict)
    await promotions.add_approval(
        tx.connection, request=request, approver=approver, verdict=state, comment=comment, now=now
    )
    decided = replace(
        request,
        state=state,
        reason=comment or f"{state.value} by {approver}",
        decided_by=approver,
        decided_at=now,
        decided_event_id=new_id(),
        promoted_event_id=new_id() if state is State.APPROVED else None,
    )
    await promotions.decide(tx.connection, request=decided)
    _tell_decided(tx, decided)
    if state is State.APPROVED:
        version = await versions.get(
            tx.connection, project=project, name=model.name, version=request.version
        )
        await _promote(tx, model, version, decided, now)
    return decided


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
        _tell_decided(tx, closed)


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


async def _asked_before(
    connection: Connection, version: Version, asked: Asked, champion: int | None
) -> Request | None:
    requests = await promotions.of_version(connection, version_id=version.id, alias=CHAMPION)
    if champion == version.version:
        for request in requests:
            if request.state is State.APPROVED:
                return request
        raise Conflict(f"version {champion} of {version.model} is champion already")
    waiting = next((r for r in requests if r.state is State.WAITING), None)
    if waiting is None:
        return None
    if (waiting.requested_by, waiting.evidence) == (asked.requested_by, asked.evidence):
        return waiting
    raise Conflict(
        f"promotion request {waiting.id} for version {version.version} of {version.model} waits "
        "already; approve or reject it first"
    )


async def _known_dataset(
    connection: Connection, project: str, evidence: GateEvidence | None
) -> KnownDataset | None:
    if evidence is None:
        return None
    found = await datasets.find(
        connection, project=project, name=evidence.dataset, version=evidence.dataset_version
    )
    if found is None:
        return None
    return KnownDataset(digest=found.digest, rows=found.rows, model=found.model)


def _new_request(
    tx: Tx, version: Version, asked: Asked, opening: Opening, champion: int | None, now: datetime
) -> Request:
    decided = opening.state is not State.WAITING
    return Request(
        id=new_id(),
        project=version.project,
        model=version.model,
        version=version.version,
        alias=CHAMPION,
        state=opening.state,
        automatic=opening.automatic,
        requested_by=asked.requested_by,
        comment=asked.comment,
        reason=opening.reason,
        digest=version.digest or "",
        expected_champion=champion,
        evidence=asked.evidence,
        decided_by=None,
        requested_at=now,
        decided_at=now if decided else None,
        requested_event_id=new_id(),
        decided_event_id=new_id(),
        promoted_event_id=new_id() if opening.state is State.APPROVED else None,
        correlation_id=correlation_of(tx),
    )


async def _tell_requested(tx: Tx, version: Version, request: Request) -> None:
    files = await versions.files(tx.connection, version_id=version.id)
    tx.emit(
        PromotionRequested(
            project=request.project,
            request_id=request.id,
            model=request.model,
            version=request.version,
            alias=request.alias,
            requested_by=request.requested_by,
            digest=request.digest,
            files=list(files),
            champion_version=request.expected_champion,
        ),
        correlation_id=request.correlation_id,
        event_id=request.requested_event_id,
    )


def _tell_decided(tx: Tx, request: Request) -> None:
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


async def _promote(tx: Tx, model: Model, version: Version, request: Request, now: datetime) -> None:
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


async def _apply(
    tx: Tx, model: Model, version: Version, step: AliasMove, *, causation_id: str | None
) -> None:
    await aliases.put(tx.connection, model=model, move=step)
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
            promoted_at=step.moved_at,
        ),
        correlation_id=step.correlation_id,
        causation_id=causation_id,
        event_id=step.event_id,
    )
    await close_waiting(
        tx,
        model=model,
        reason=f"version {version.version} became {step.alias}",
        now=step.moved_at,
    )


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
