"""Datasets and models that runs used, models that runs made."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.entities import DatasetInput, ModelOutput


async def add_datasets(
    connection: Connection, *, experiment: int, run_id: str, datasets: Sequence[DatasetInput]
) -> None:
    """Note datasets as inputs of a locked run; one of the same name and digest counts once."""
    unique: dict[tuple[str, str], DatasetInput] = {}
    for dataset in datasets:
        unique.setdefault((dataset.name, dataset.digest), dataset)
    ordered = [unique[key] for key in sorted(unique)]
    await connection.execute(
        """
        insert into dataset (experiment_id, name, digest, source_type, source, schema, profile)
        select $1::bigint, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[])
        on conflict (experiment_id, name, digest) do nothing
        """,
        experiment,
        [one.name for one in ordered],
        [one.digest for one in ordered],
        [one.source_type for one in ordered],
        [one.source for one in ordered],
        [one.schema for one in ordered],
        [one.profile for one in ordered],
    )
    await connection.execute(
        """
        insert into run_dataset (run_id, dataset_id, tags, context)
        select $1, dataset.dataset_id, given.tags, given.context
        from unnest($3::text[], $4::text[], $5::jsonb[], $6::text[])
            as given (name, digest, tags, context)
        join dataset on dataset.experiment_id = $2 and dataset.name = given.name
            and dataset.digest = given.digest
        on conflict (run_id, dataset_id) do nothing
        """,
        run_id,
        experiment,
        [one.name for one in ordered],
        [one.digest for one in ordered],
        [dict(one.tags) for one in ordered],
        [one.context for one in ordered],
    )


async def add_model_inputs(
    connection: Connection, *, run_id: str, model_ids: Sequence[str]
) -> None:
    """Note models as inputs of a locked run; each counts once."""
    await connection.execute(
        "insert into run_model (run_id, direction, model_id)"
        " select $1, 'input', * from unnest($2::text[]) on conflict do nothing",
        run_id,
        list(model_ids),
    )


async def add_model_outputs(
    connection: Connection, *, run_id: str, outputs: Sequence[ModelOutput]
) -> None:
    """Note models that a locked run made; each counts once a step."""
    await connection.execute(
        "insert into run_model (run_id, direction, model_id, step)"
        " select $1, 'output', * from unnest($2::text[], $3::bigint[]) on conflict do nothing",
        run_id,
        [output.model_id for output in outputs],
        [output.step for output in outputs],
    )
