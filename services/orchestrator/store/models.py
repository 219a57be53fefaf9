"""What is known of models and datasets: champions, retrain policies, newest versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from headrace.runtime.db import Connection
from services.orchestrator.domain.policy import DatasetState, ModelView, Policy
from services.orchestrator.store.epochs import open_epoch


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
