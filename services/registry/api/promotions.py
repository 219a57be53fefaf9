"""The one door through which a version becomes champion: request, gate, approval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from headrace.errors import Conflict, Refused
from headrace.events import GateEvidence, PromotionRequested
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from headrace.runtime.db import Connection
from services.registry.api.champions import correlation_of, promote, tell_decided
from services.registry.domain.gate import (
    GateResult,
    KnownDataset,
    Policy,
    Verdict,
    check_champion_named,
    judge,
)
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import (
    Opening,
    Request,
    State,
    approve,
    move,
    open_request,
)
from services.registry.domain.records import Version
from services.registry.store import (
    aliases,
    conversions,
    datasets,
    models,
    promotions,
    versions,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who wants which version to be champion, and what speaks for it."""

    model: str
    version: int
    requested_by: str
    comment: str = ""
    evidence: GateEvidence | None = None
    proven_live: str | None = None
    """What a rollout showed on live traffic; it stands for the gate's verdict."""


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
    result = _shown_live(asked) or judge(
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
    tell_decided(tx, request)
    if request.state is State.APPROVED:
        await promote(tx, model, version, request, now)
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
    tell_decided(tx, decided)
    if state is State.APPROVED:
        version = await versions.get(
            tx.connection, project=project, name=model.name, version=request.version
        )
        await promote(tx, model, version, decided, now)
    return decided


def _shown_live(asked: Asked) -> GateResult | None:
    if asked.proven_live is None:
        return None
    return GateResult(verdict=Verdict.PASSED, reasons=(asked.proven_live,))


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
            converted=await conversions.files(tx.connection, version_id=version.id),
            champion_version=request.expected_champion,
        ),
        correlation_id=request.correlation_id,
        event_id=request.requested_event_id,
    )
