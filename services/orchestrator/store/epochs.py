"""Retrain policies, drift epochs, and what is known of models and datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace.runtime.db import Connection
from services.orchestrator.domain.policy import DatasetState, Epoch, ModelView, Phase, Policy


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


async def lock_model(connection: Connection, *, project: str, model: str) -> ModelView:
    """All that the policy knows of a model, locked: decisions about one model come one by one."""
    await connection.execute(
        "insert into model_state (project, model) values ($1, $2)"
        " on conflict (project, model) do update set model = excluded.model",
        project,
        model,
    )
    champion, champions = await _champions(connection, project=project, model=model)
    opened = await open_epoch(connection, project=project, model=model)
    return ModelView(
        policy=await policy(connection, project=project, model=model),
        champion=champion,
        champions=champions,
        open_epoch=opened.epoch if opened else None,
        last_retrained_at=await _last_retrained_at(connection, project=project, model=model),
    )


async def put_champion(connection: Connection, *, project: str, model: str, version: int) -> None:
    """A version is champion now."""
    await connection.execute(
        "update model_state set champion_version = $3,"
        " champions = array(select distinct unnest(array_append(champions, $3)) order by 1)"
        " where project = $1 and model = $2",
        project,
        model,
        version,
    )


async def policy(connection: Connection, *, project: str, model: str) -> Policy | None:
    """The retrain policy of a model."""
    row = await connection.fetchrow(
        "select pipeline, parameters, cooldown_days, enabled from retrain_policy"
        " where project = $1 and model = $2",
        project,
        model,
    )
    return None if row is None else Policy(**dict(row))


async def policies(connection: Connection, *, project: str) -> list[dict[str, Any]]:
    """All retrain policies."""
    rows = await connection.fetch(
        "select model, pipeline, parameters, cooldown_days, enabled, updated_at"
        " from retrain_policy where project = $1 order by model",
        project,
    )
    return [dict(row) for row in rows]


async def put_policy(connection: Connection, *, project: str, model: str, policy: Policy) -> None:
    """Set the retrain policy of a model."""
    await connection.execute(
        "insert into retrain_policy (project, model, pipeline, parameters, cooldown_days, enabled)"
        " values ($1, $2, $3, $4, $5, $6) on conflict (project, model) do update set"
        " pipeline = excluded.pipeline, parameters = excluded.parameters,"
        " cooldown_days = excluded.cooldown_days, enabled = excluded.enabled, updated_at = now()",
        project,
        model,
        policy.pipeline,
        dict(policy.parameters),
        policy.cooldown_days,
        policy.enabled,
    )


async def lock_dataset(connection: Connection, *, project: str, name: str) -> DatasetState | None:
    """The newest version of a dataset that was heard of, locked even if there is none yet.

    An alarm that goes on to wait for data holds this lock, so that no version slips by unseen.
    """
    row = await connection.fetchrow(
        "insert into dataset_state (project, dataset, version, digest) values ($1, $2, 0, '')"
        " on conflict (project, dataset) do update set dataset = excluded.dataset"
        " returning version, labelled_through",
        project,
        name,
    )
    return None if row is None or row["version"] == 0 else DatasetState(**dict(row))


async def put_dataset(
    connection: Connection,
    *,
    project: str,
    name: str,
    version: int,
    digest: str,
    labelled_through: datetime | None,
) -> bool:
    """A dataset version exists; False if a newer one was heard of before."""
    put = await connection.fetchval(
        "insert into dataset_state (project, dataset, version, digest, labelled_through)"
        " values ($1, $2, $3, $4, $5) on conflict (project, dataset) do update set"
        " version = excluded.version, digest = excluded.digest,"
        " labelled_through = excluded.labelled_through"
        " where dataset_state.version < excluded.version returning true",
        project,
        name,
        version,
        digest,
        labelled_through,
    )
    return bool(put)


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


async def _champions(
    connection: Connection, *, project: str, model: str
) -> tuple[int | None, frozenset[int]]:
    row = await connection.fetchrow(
        "select champion_version, champions from model_state where project = $1 and model = $2",
        project,
        model,
    )
    return (None, frozenset()) if row is None else (row[0], frozenset(row[1]))


async def _last_retrained_at(
    connection: Connection, *, project: str, model: str
) -> datetime | None:
    moment: datetime | None = await connection.fetchval(
        "select max(detected_at) from drift_epoch where project = $1 and model = $2"
        " and pipeline_run_id is not null and outcome is distinct from 'failed'",
        project,
        model,
    )
    return moment


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
