"""What was logged to runs, for whole pages of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.entities import DatasetInput, Metric, ModelOutput, Run, RunInfo
from services.tracking.domain.points import united
from services.tracking.domain.summaries import latest
from services.tracking.store import log


async def with_contents(connection: Connection, infos: Sequence[RunInfo]) -> list[Run]:
    """Runs with what was logged to them, in the order given; a fixed number of statements."""
    ids = [info.run_id for info in infos]
    unfolded = await log.pending(connection, ids)
    metrics: dict[str, list[Metric]] = {run_id: [] for run_id in ids}
    for row in await connection.fetch(
        "select run_id, key, last_value, last_timestamp, last_step from metric_summary"
        " where run_id = any($1) order by run_id, key",
        ids,
    ):
        run_id, key, value, timestamp, step = row
        metrics[run_id].append(Metric(key=key, value=value, timestamp=timestamp, step=step))
    for run_id, parts in unfolded.items():
        metrics[run_id] = latest(metrics[run_id], united(parts))
    params = await _texts(connection, "param", ids)
    tags = await _texts(connection, "tag", ids)
    datasets = await _datasets(connection, ids)
    inputs, outputs = await _models(connection, ids)
    return [
        Run(
            info=info,
            metrics=metrics[info.run_id],
            params=params[info.run_id],
            tags=tags[info.run_id],
            datasets=datasets[info.run_id],
            model_inputs=inputs[info.run_id],
            model_outputs=outputs[info.run_id],
        )
        for info in infos
    ]


async def _texts(
    connection: Connection, table: str, ids: Sequence[str]
) -> dict[str, dict[str, str]]:
    statement = {
        "param": "select run_id, key, value from param where run_id = any($1) order by run_id, key",
        "tag": "select run_id, key, value from tag where run_id = any($1) order by run_id, key",
    }[table]
    found: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
    for run_id, key, value in await connection.fetch(statement, ids):
        found[run_id][key] = value
    return found


async def _datasets(connection: Connection, ids: Sequence[str]) -> dict[str, list[DatasetInput]]:
    found: dict[str, list[DatasetInput]] = {run_id: [] for run_id in ids}
    for row in await connection.fetch(
        "select run_dataset.run_id, run_dataset.tags, dataset.* from run_dataset"
        " join dataset using (dataset_id) where run_id = any($1) order by run_id, dataset_id",
        ids,
    ):
        found[row["run_id"]].append(
            DatasetInput(
                name=row["name"],
                digest=row["digest"],
                source_type=row["source_type"],
                source=row["source"],
                schema=row["schema"],
                profile=row["profile"],
                tags=row["tags"],
            )
        )
    return found


async def _models(
    connection: Connection, ids: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[ModelOutput]]]:
    inputs: dict[str, list[str]] = {run_id: [] for run_id in ids}
    outputs: dict[str, list[ModelOutput]] = {run_id: [] for run_id in ids}
    for run_id, way, model_id, step in await connection.fetch(
        "select run_id, direction, model_id, step from run_model where run_id = any($1)"
        " order by run_id, direction, step, model_id",
        ids,
    ):
        if way == "input":
            inputs[run_id].append(model_id)
        else:
            outputs[run_id].append(ModelOutput(model_id=model_id, step=step))
    return inputs, outputs
