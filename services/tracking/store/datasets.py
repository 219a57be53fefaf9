"""Datasets that runs used, over whole experiments."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.entities import DatasetUse


async def used_datasets(
    connection: Connection, *, project: str, experiments: Sequence[int], limit: int
) -> list[DatasetUse]:
    """What active experiments' runs used, in which context; each once, by name and digest."""
    rows = await connection.fetch(
        """
        select distinct dataset.experiment_id, dataset.name, dataset.digest, run_dataset.context
        from dataset
        join experiment using (experiment_id)
        join run_dataset using (dataset_id)
        where experiment.project = $1 and experiment.experiment_id = any($2::bigint[])
            and experiment.lifecycle_stage = 'active'
        order by experiment_id, name, digest, context nulls first
        limit $3
        """,
        project,
        list(experiments),
        limit,
    )
    return [
        DatasetUse(
            experiment_id=str(row["experiment_id"]),
            name=row["name"],
            digest=row["digest"],
            context=row["context"],
        )
        for row in rows
    ]
