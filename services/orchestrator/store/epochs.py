"""Drift epochs and the decisions of retrain policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace.runtime.db import Connection
from services.orchestrator.domain.policy import Epoch, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEpoch:
    """An epoch that is not closed, with what is needed to go on with it."""

    project: str
    drift_event_id: str
    model: str
    dataset: str
    detected_at: datetime
    correlation_id: str
    alarm: dict[str, Any]
    epoch: Epoch


async def add_epoch(
    connection: Connection,
    *,
    project: str,
    drift_event_id: str,
    model: str,
    alarm: Mapping[str, Any],
    detected_at: datetime,
    dataset: str,
    correlation_id: str,
    epoch: Epoch,
) -> None:
    """Open an epoch. A second open one of the model violates `drift_epoch_one_open`."""
    await connection.execute(
        "insert into drift_epoch (project, drift_event_id, drift_epoch, model, version, alarm,"
        " detected_at, dataset, labelled_through, correlation_id, phase, pipeline_run_id)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        project,
        drift_event_id,
        epoch.drift_epoch,
        model,
        epoch.version,
        dict(alarm),
        detected_at,
        dataset,
        epoch.labelled_through,
        correlation_id,
        epoch.phase.value,
        epoch.pipeline_run_id,
    )


async def open_epoch(connection: Connection, *, project: str, model: str) -> StoredEpoch | None:
    """The open epoch of a model, locked."""
    row = await connection.fetchrow(
        "select * from drift_epoch where project = $1 and model = $2 and phase <> 'closed'"
        " for update",
        project,
        model,
    )
    return None if row is None else _stored(row)


async def awaiting_models(connection: Connection, *, project: str, dataset: str) -> list[str]:
    """Models whose open epoch waits for data of this dataset."""
    rows = await connection.fetch(
        "select model from drift_epoch where project = $1 and dataset = $2"
        " and phase = 'awaiting_data' order by model",
        project,
        dataset,
    )
    return [row["model"] for row in rows]


async def model_of_run(connection: Connection, *, project: str, run_id: str) -> str | None:
    """The model whose open epoch this run belongs to."""
    model: str | None = await connection.fetchval(
        "select model from drift_epoch where project = $1 and pipeline_run_id = $2"
        " and phase <> 'closed'",
        project,
        run_id,
    )
    return model


async def run_epoch(
    connection: Connection, *, project: str, drift_event_id: str, run_id: str
) -> None:
    """The epoch's pipeline run was started."""
    await connection.execute(
        "update drift_epoch set phase = 'running', pipeline_run_id = $3"
        " where project = $1 and drift_event_id = $2 and phase = 'awaiting_data'",
        project,
        drift_event_id,
        run_id,
    )


async def close_epoch(
    connection: Connection, *, project: str, drift_event_id: str, outcome: str, reason: str
) -> None:
    """The epoch is over."""
    await connection.execute(
        "update drift_epoch set phase = 'closed', closed_at = now(), outcome = $3, reason = $4"
        " where project = $1 and drift_event_id = $2 and phase <> 'closed'",
        project,
        drift_event_id,
        outcome,
        reason,
    )


async def promotion_requests_of(connection: Connection, *, project: str, run_id: str) -> list[str]:
    """Ids of the promotion requests that a run made."""
    promotions = await connection.fetchval(
        "select promotions from pipeline_run where project = $1 and id = $2", project, run_id
    )
    return [entry["request_id"] for entry in promotions or []]


async def add_decision(
    connection: Connection,
    *,
    project: str,
    drift_event_id: str,
    model: str,
    drift_epoch: str,
    outcome: str,
    reason: str,
    pipeline_run_id: str | None,
    detected_at: datetime,
) -> None:
    """Write down what the policy decided; an alarm may get two (waiting, then started)."""
    await connection.execute(
        "insert into retrain_decision (project, drift_event_id, position, model, drift_epoch,"
        " outcome, reason, pipeline_run_id, detected_at)"
        " select $1, $2, count(*), $3, $4, $5, $6, $7, $8 from retrain_decision"
        " where project = $1 and drift_event_id = $2",
        project,
        drift_event_id,
        model,
        drift_epoch,
        outcome,
        reason,
        pipeline_run_id,
        detected_at,
    )


async def was_decided(connection: Connection, *, project: str, drift_event_id: str) -> bool:
    """Whether the policy has decided about this event before."""
    decided = await connection.fetchval(
        "select exists(select from retrain_decision where project = $1 and drift_event_id = $2)",
        project,
        drift_event_id,
    )
    return bool(decided)


async def epochs(
    connection: Connection, *, project: str, model: str | None, state: str | None, limit: int
) -> list[dict[str, Any]]:
    """Epochs, newest first; `state` is open or closed."""
    rows = await connection.fetch(
        "select drift_epoch, drift_event_id, model, version, detected_at, dataset,"
        " labelled_through, correlation_id, phase, pipeline_run_id, opened_at, closed_at,"
        " outcome, reason, case when phase = 'closed' then 'closed' else 'open' end as state"
        " from drift_epoch where project = $1 and ($2::text is null or model = $2)"
        " and ($3::text is null or (phase = 'closed') = ($3 = 'closed'))"
        " order by opened_at desc limit $4",
        project,
        model,
        state,
        limit,
    )
    return [dict(row) for row in rows]


async def decisions(
    connection: Connection, *, project: str, model: str | None, limit: int
) -> list[dict[str, Any]]:
    """Decisions of retrain policies, newest first."""
    rows = await connection.fetch(
        "select model, drift_event_id, drift_epoch, outcome, reason, pipeline_run_id,"
        " detected_at, decided_at from retrain_decision where project = $1"
        " and ($2::text is null or model = $2) order by decided_at desc, position desc limit $3",
        project,
        model,
        limit,
    )
    return [dict(row) for row in rows]


def _stored(row: asyncpg.Record) -> StoredEpoch:
    return StoredEpoch(
        project=row["project"],
        drift_event_id=row["drift_event_id"],
        model=row["model"],
        dataset=row["dataset"],
        detected_at=row["detected_at"],
        correlation_id=row["correlation_id"],
        alarm=row["alarm"],
        epoch=Epoch(
            drift_epoch=row["drift_epoch"],
            version=row["version"],
            phase=Phase(row["phase"]),
            labelled_through=row["labelled_through"],
            pipeline_run_id=row["pipeline_run_id"],
        ),
    )
