"""Aggregates over traces and assessments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.runtime.db import Connection
from services.tracking.domain.traces.metrics import TOKENS, Aggregation, MetricQuery
from services.tracking.store.sql import Arguments
from services.tracking.store.traces.conditions import relaxed

_USAGE: Final = "trace.metadata ->> 'mlflow.trace.tokenUsage'"
_DIMENSIONS: Final = {
    "trace_name": "trace.name",
    "trace_status": "trace.state",
    "assessment_name": "said.name",
    "assessment_value": "(said.value #>> '{}')",
}
_VALUES: Final = {
    "trace_count": "trace.trace_id",
    "session_count": "distinct trace.metadata ->> 'mlflow.trace.session'",
    "latency": "trace.execution_duration",
    "assessment_count": "said.assessment_id",
    "assessment_value": (
        "case when jsonb_typeof(said.value) = 'number' then said.value::float8 end"
    ),
    **{
        name: (
            f"case when pg_input_is_valid({_USAGE}, 'jsonb')"
            f" then (({_USAGE})::jsonb ->> '{name}')::float8 end"
        )
        for name in TOKENS
    },
}
_ASSESSED: Final = {"name": "said.name", "type": "said.kind"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPoint:
    """One group: the start of its interval in milliseconds, its dimensions, its values."""

    bucket_ms: int | None
    dimensions: dict[str, str]
    values: dict[str, float]


async def query_metrics(
    connection: Connection,
    query: MetricQuery,
    *,
    project: str,
    experiments: Sequence[int],
    limit: int,
    offset: int,
) -> list[DataPoint]:
    """The groups in the order of their intervals and dimensions; those without values left out."""
    arguments = Arguments()
    groups = [f"{_DIMENSIONS[name]} as {name}" for name in query.dimensions]
    if query.interval is not None:
        width = arguments.bind(query.interval * 1000)
        groups.insert(0, f"trace.request_time / {width}::bigint * {width}::bigint as bucket")
    values = [
        f"{_aggregate(one, query.metric, arguments)} as value_{place}"
        for place, one in enumerate(query.aggregations)
    ]
    sql = [
        f"select {', '.join([*groups, *values])} from trace",  # noqa: S608
        "join trace_assessment as said using (trace_id)" if query.view == "ASSESSMENTS" else "",
        f"where {_where(query, project, experiments, arguments)}",
    ]
    if groups:
        places = ", ".join(str(place) for place in range(1, len(groups) + 1))
        sql.append(f"group by {places} order by {places}")
    sql.append(f"limit {arguments.bind(limit)} offset {arguments.bind(offset)}")
    rows = await connection.fetch(" ".join(sql), *arguments.values)
    return [
        DataPoint(
            bucket_ms=row["bucket"] if query.interval is not None else None,
            dimensions={name: row[name] for name in query.dimensions},
            values={
                one.label: float(row[f"value_{place}"])
                for place, one in enumerate(query.aggregations)
                if row[f"value_{place}"] is not None
            },
        )
        for row in rows
    ]


def _aggregate(one: Aggregation, metric: str, arguments: Arguments) -> str:
    if one.percentile is None:
        return f"{one.kind.lower()}({_VALUES[metric]})"
    fraction = arguments.bind(one.percentile / 100)
    return f"percentile_cont({fraction}::float8) within group (order by {_VALUES[metric]})"


def _where(
    query: MetricQuery, project: str, experiments: Sequence[int], arguments: Arguments
) -> str:
    conditions = [
        f"trace.project = {arguments.bind(project)}",
        f"trace.experiment_id = any({arguments.bind(list(experiments))}::bigint[])",
        relaxed(query.condition, arguments),
    ]
    if query.start_ms is not None:
        conditions.append(f"trace.request_time >= {arguments.bind(query.start_ms)}::bigint")
    if query.end_ms is not None:
        conditions.append(f"trace.request_time <= {arguments.bind(query.end_ms)}::bigint")
    if query.view == "ASSESSMENTS":
        conditions.append("said.valid")
        for name, value in query.assessed.items():
            conditions.append(f"{_ASSESSED[name]} = {arguments.bind(value)}::text")
    conditions.extend(f"{_DIMENSIONS[name]} is not null" for name in query.dimensions)
    return " and ".join(conditions)
