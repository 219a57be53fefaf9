"""Promotion policies, requests and approvals."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from headrace.errors import NotFound
from headrace.events import GateEvidence
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.registry.domain.gate import Policy
from services.registry.domain.promotions import Request, State, policy_document
from services.registry.domain.records import Model

_COLUMNS = """
    r.id, r.project, m.name as model, v.version, r.alias, r.state, r.automatic, r.requested_by,
    r.comment, r.reason, r.digest, r.expected_champion, r.evidence, r.decided_by,
    r.requested_at, r.decided_at, r.requested_event_id, r.decided_event_id,
    r.promoted_event_id, r.correlation_id
"""
_FROM = """
    from promotion_request r join registered_model m on m.id = r.model_id
    join model_version v on v.id = r.version_id
"""


async def policy(connection: Connection, *, project: str, model: str) -> Policy | None:
    """What was set for a model, if anything was."""
    row = await connection.fetchrow(
        "select auto_promote, margins, min_rows from promotion_policy"
        " where project = $1 and model = $2",
        project,
        model,
    )
    return None if row is None else Policy(**row)


async def policies(connection: Connection, *, project: str) -> dict[str, Policy]:
    """Every policy that was set, by model."""
    rows = await connection.fetch(
        "select model, auto_promote, margins, min_rows from promotion_policy where project = $1",
        project,
    )
    return {
        row["model"]: Policy(
            auto_promote=row["auto_promote"], margins=row["margins"], min_rows=row["min_rows"]
        )
        for row in rows
    }


async def set_policy(
    connection: Connection,
    *,
    project: str,
    model: str,
    policy: Policy,
    updated_by: str,
    now: datetime,
) -> None:
    """Set the policy of a model; it may be set before the model is registered."""
    await connection.execute(
        "insert into promotion_policy"
        " (project, model, auto_promote, margins, min_rows, updated_by, updated_at)"
        " values ($1, $2, $3, $4, $5, $6, $7)"
        " on conflict (project, model) do update set auto_promote = excluded.auto_promote,"
        " margins = excluded.margins, min_rows = excluded.min_rows,"
        " updated_by = excluded.updated_by, updated_at = excluded.updated_at",
        project,
        model,
        policy.auto_promote,
        dict(policy.margins),
        policy.min_rows,
        updated_by,
        now,
    )


async def insert(
    connection: Connection, *, model: Model, version_id: str, request: Request, policy: Policy
) -> None:
    """Store a new request with a copy of the policy that it was judged under."""
    await connection.execute(
        "insert into promotion_request (id, project, model_id, version_id, alias, state,"
        " automatic, requested_by, comment, reason, digest, expected_champion, evidence, policy,"
        " decided_by, requested_at, decided_at, requested_event_id, decided_event_id,"
        " promoted_event_id, correlation_id)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
        " $18, $19, $20, $21)",
        request.id,
        request.project,
        model.id,
        version_id,
        request.alias,
        request.state.value,
        request.automatic,
        request.requested_by,
        request.comment,
        request.reason,
        request.digest,
        request.expected_champion,
        None if request.evidence is None else request.evidence.model_dump(mode="json"),
        policy_document(
            auto_promote=policy.auto_promote, margins=policy.margins, min_rows=policy.min_rows
        ),
        request.decided_by,
        request.requested_at,
        request.decided_at,
        request.requested_event_id,
        request.decided_event_id,
        request.promoted_event_id,
        request.correlation_id,
    )


async def add_approval(
    connection: Connection,
    *,
    request: Request,
    approver: str,
    verdict: State,
    comment: str,
    now: datetime,
) -> None:
    """Record what a person decided; the database refuses the requester's own approval."""
    await connection.execute(
        "insert into promotion_approval"
        " (id, project, request_id, requested_by, approver, verdict, comment, decided_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8)",
        new_id(),
        request.project,
        request.id,
        request.requested_by,
        approver,
        "approve" if verdict is State.APPROVED else "reject",
        comment,
        now,
    )


async def decide(connection: Connection, *, request: Request) -> None:
    """Write down how a waiting request was decided."""
    await connection.execute(
        "update promotion_request set state = $2, reason = $3, decided_by = $4, decided_at = $5,"
        " decided_event_id = $6, promoted_event_id = $7 where id = $1",
        request.id,
        request.state.value,
        request.reason,
        request.decided_by,
        request.decided_at,
        request.decided_event_id,
        request.promoted_event_id,
    )


async def get(connection: Connection, *, project: str, request_id: str) -> Request:
    """A request. Raises NotFound."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} {_FROM} where r.project = $1 and r.id::text = lower($2)",
        project,
        request_id,
    )
    if row is None:
        raise NotFound(f"there is no promotion request {request_id}")
    return _read(row)


async def of_version(connection: Connection, *, version_id: str, alias: str) -> list[Request]:
    """Requests for a version, newest first."""
    rows = await connection.fetch(
        f"select {_COLUMNS} {_FROM} where r.version_id = $1 and r.alias = $2"
        " order by r.requested_at desc, r.id desc",
        version_id,
        alias,
    )
    return [_read(row) for row in rows]


async def waiting(connection: Connection, *, model: Model, alias: str) -> list[Request]:
    """Requests of a model that wait for a person, oldest first."""
    rows = await connection.fetch(
        f"select {_COLUMNS} {_FROM} where r.model_id = $1 and r.alias = $2"
        " and r.state = 'waiting' order by r.requested_at, r.id",
        model.id,
        alias,
    )
    return [_read(row) for row in rows]


async def search(
    connection: Connection, *, project: str, model: str | None, state: str | None, limit: int
) -> list[Request]:
    """Requests, newest first; `model` and `state` narrow them."""
    rows = await connection.fetch(
        f"select {_COLUMNS} {_FROM} where r.project = $1"
        " and ($2::text is null or (m.name = $2 and m.deleted_at is null))"
        " and ($3::text is null or r.state = $3)"
        " order by r.requested_at desc, r.id desc limit $4",
        project,
        model,
        state,
        limit,
    )
    return [_read(row) for row in rows]


def _read(row: asyncpg.Record) -> Request:
    fields = dict(row)
    for name in ("id", "requested_event_id", "decided_event_id", "promoted_event_id"):
        fields[name] = None if fields[name] is None else str(fields[name])
    evidence = fields.pop("evidence")
    return Request(
        **{**fields, "state": State(fields["state"])},
        evidence=None if evidence is None else GateEvidence.model_validate(evidence),
    )
