"""SQL of outcomes: predictions put beside what was told of them, each counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from headrace.runtime.db import Connection
from services.serving.domain.judging import Judged, Total


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """One prediction that is judged; `score` may be NaN."""

    project: str
    model: str
    prediction_id: str
    table_version: int
    arm: str
    score: float


async def note_predictions(connection: Connection, predictions: Iterable[Predicted]) -> None:
    """The predicted halves; one that is here already changes nothing."""
    await connection.executemany(
        "insert into outcome (project, model, prediction_id, table_version, arm, score)"
        " values ($1, $2, $3, $4, $5, $6) on conflict (project, model, prediction_id) do update"
        " set table_version=excluded.table_version, arm=excluded.arm, score=excluded.score"
        " where outcome.table_version is null",
        [
            (each.project, each.model, each.prediction_id, each.table_version, each.arm, each.score)
            for each in predictions
        ],
    )


async def note_told(connection: Connection, told: Sequence[tuple[str, str, str, float]]) -> None:
    """Rewards or labels, as (project, model, prediction id, value); the first one counts."""
    await connection.executemany(
        "insert into outcome (project, model, prediction_id, label) values ($1, $2, $3, $4)"
        " on conflict (project, model, prediction_id) do update set label=excluded.label"
        " where outcome.label is null",
        told,
    )


async def count(connection: Connection, *, project: str, judged: Judged) -> None:
    """Add what is whole and not counted yet to the totals of its table and arm.

    Rows without a score do not count where the measure needs one.
    """
    measure = judged.measure
    await connection.execute(
        COUNT,
        project,
        judged.model,
        judged.first,
        judged.last,
        measure.worth,
        measure.scale,
        measure.low,
    )


async def totals(
    connection: Connection, *, project: str, model: str, first: int, last: int
) -> Mapping[str, Total]:
    """What every arm did under tables `first` to `last`."""
    rows = await connection.fetch(
        "select arm, sum(count)::bigint as count, sum(total) as total, sum(squares) as squares"
        " from outcome_total where project=$1 and model=$2 and table_version between $3 and $4"
        " group by arm",
        project,
        model,
        first,
        last,
    )
    return {
        row["arm"]: Total(count=row["count"], total=row["total"], squares=row["squares"])
        for row in rows
    }


async def set_totals(
    connection: Connection, *, project: str, model: str, table: int, earned: Mapping[str, Total]
) -> None:
    """Put back what had been counted before the schema was lost."""
    await connection.executemany(
        "insert into outcome_total (project, model, table_version, arm, count, total, squares)"
        " values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        [
            (project, model, table, arm, each.count, each.total, each.squares)
            for arm, each in earned.items()
        ],
    )


async def forget(connection: Connection, *, project: str, model: str) -> None:
    """Nobody judges by them any more; the totals stay."""
    await connection.execute("delete from outcome where project=$1 and model=$2", project, model)


async def prune(connection: Connection, *, project: str, horizon: timedelta, limit: int) -> int:
    """Forget outcomes whose first half came before the horizon; returns how many, at most `limit`.

    What is told of them later finds no prediction any more and never counts.
    """
    gone: str = await connection.execute(PRUNE, project, horizon, limit)
    return int(gone.split()[1])


COUNT = """
with fresh as (
    update outcome set counted = true
    where project=$1 and model=$2 and table_version between $3 and $4
        and not counted and label is not null and table_version is not null
    returning table_version, arm, case
        when $5 = 'raw' then label
        when $5 = 'bounded' then least(1, greatest(0, (label - $7) / $6))
        when score = 'NaN' then null
        when $5 = 'brier' then least(1, power(abs(score - label), 2))
        when $5 = 'absolute' then least(1, abs(score - label) / $6)
        else (abs(score - label) > $6)::int
    end as value
)
insert into outcome_total as known (project, model, table_version, arm, count, total, squares)
select $1, $2, table_version, arm, count(value), sum(value), sum(value * value)
from fresh where value is not null group by table_version, arm
on conflict (project, model, table_version, arm) do update set count = known.count + excluded.count,
    total = known.total + excluded.total, squares = known.squares + excluded.squares
"""

PRUNE = """
delete from outcome where ctid = any(array(
    select ctid from outcome where project=$1 and seen_at < now() - $2::interval limit $3))
"""
