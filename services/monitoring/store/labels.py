"""Labels and their join with predictions, in either order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np

from headrace.runtime.db import Connection
from services.monitoring.segments import LabelledRows


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """What became of a batch of labels: `repeated` ones changed nothing."""

    joined: int
    pending: int
    repeated: int


async def add(
    connection: Connection,
    model_id: int,
    *,
    prediction_ids: Sequence[str],
    observed_us: Sequence[int],
    labels: Sequence[float],
    seen_days: Sequence[int],
    due_days: Sequence[int],
) -> Added:
    """Add labels and join them with the predictions that are known.

    Within one call the labels of a prediction must be given in order of observation, no two of
    one time. A label
    not observed later than one that is known already is dropped. No due day may be one whose
    segment is written.
    """
    row = await connection.fetchrow(
        ADD, model_id, prediction_ids, observed_us, labels, seen_days, due_days
    )
    if row is None:
        raise LookupError("an aggregate without a row")
    added = row["added"]
    return Added(
        joined=row["joined"],
        pending=added - row["joined"],
        repeated=len(prediction_ids) - added,
    )


async def join_pending(
    connection: Connection, model_id: int, *, batch_ids: Sequence[int], earliest_day: int
) -> int:
    """Join the labels that waited for predictions of these batches; returns how many.

    None of them goes to a segment before `earliest_day`.
    """
    status: str = await connection.execute(JOIN_PENDING, model_id, batch_ids, earliest_day)
    return int(status.rpartition(" ")[2])


async def of_segment(connection: Connection, model_id: int, day: int) -> LabelledRows:
    """The labels that belong in the segment of a day: one a prediction, the last observed."""
    return _columns(await connection.fetch(OF_SEGMENT, model_id, day))


async def of_predictions(
    connection: Connection,
    model_id: int,
    *,
    batch_ids: Sequence[int],
    seen_through_day: int,
    observed_before_us: int,
) -> LabelledRows:
    """The last label of each prediction in these batches, of those that came in time."""
    return _columns(
        await connection.fetch(
            OF_PREDICTIONS, model_id, batch_ids, seen_through_day, observed_before_us
        )
    )


async def prune(connection: Connection, model_id: int, *, before_day: int) -> int:
    """Forget labels of segments before a day; returns how many others gave up waiting."""
    await connection.execute(
        "delete from label where model_id=$1 and segment_day < $2", model_id, before_day
    )
    status: str = await connection.execute(
        "delete from label where model_id=$1 and segment_day is null and due_day < $2",
        model_id,
        before_day,
    )
    return int(status.rpartition(" ")[2])


def _columns(rows: Sequence[asyncpg.Record]) -> LabelledRows:
    return LabelledRows(
        batch_ids=np.array([row["batch_id"] for row in rows], dtype=np.int64),
        row_numbers=np.array([row["row_number"] for row in rows], dtype=np.int64),
        labels=np.array([row["label"] for row in rows], dtype=np.float64),
        observed_us=np.array([row["observed_at_us"] for row in rows], dtype=np.int64),
    )


# `limit 1` and `offset 0` keep the planner at one index look-up a row, whatever it believes the
# size of these young tables to be: a hash of a model's whole memory for each batch costs more.
# For the same reason a label that waits is looked up by `batch_id is null`: the index of those
# that wait is for counting them out, not for finding one.

ADD = """
with added as (
    insert into label (model_id, prediction_id, observed_at_us, label, seen_day, due_day,
        batch_id, row_number, segment_day)
    select $1, fresh.prediction_id, fresh.observed_at_us, fresh.label, fresh.seen_day,
        fresh.due_day, found.batch_id, found.row_number,
        case when found.batch_id is not null then greatest(fresh.due_day, found.open_day) end
    from unnest($2::text[], $3::bigint[], $4::double precision[], $5::integer[], $6::integer[])
        as fresh(prediction_id, observed_at_us, label, seen_day, due_day)
    left join lateral (
        select batch_id, row_number, open_day from prediction
        where model_id = $1 and prediction.prediction_id = fresh.prediction_id limit 1
    ) as found on true
    where coalesce((
        select observed_at_us from label as known
        where known.model_id = $1 and known.prediction_id = fresh.prediction_id
        order by observed_at_us desc limit 1
    ) < fresh.observed_at_us, true)
    returning segment_day
)
select count(*) as added, count(segment_day) as joined from added
"""

JOIN_PENDING = """
update label set (batch_id, row_number, segment_day) = (
    select found.batch_id, found.row_number, greatest(label.due_day, found.open_day, $3)
    from prediction as found
    where found.model_id = $1 and found.prediction_id = label.prediction_id limit 1
)
where ctid = any(array(
    select waiting.place
    from prediction
    cross join lateral (
        select ctid as place from label
        where model_id = $1 and label.prediction_id = prediction.prediction_id
            and label.batch_id is null offset 0
    ) as waiting
    where batch_id = any($2::bigint[])
))
"""

OF_SEGMENT = """
select distinct on (prediction_id) batch_id, row_number, label, observed_at_us
from label where model_id = $1 and segment_day = $2
order by prediction_id, observed_at_us desc
"""

OF_PREDICTIONS = """
select prediction.batch_id, prediction.row_number, truth.label, truth.observed_at_us
from prediction
cross join lateral (
    select label, observed_at_us from label
    where model_id = $1 and label.prediction_id = prediction.prediction_id
        and seen_day <= $3 and observed_at_us < $4
    order by observed_at_us desc limit 1
) as truth
where prediction.batch_id = any($2::bigint[])
"""
