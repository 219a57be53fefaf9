"""SQL of what learners keep of the stream: predictions, labels in their turn, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from headrace.runtime.db import Connection
from services.serving.domain.learners import Learner, Waiting
from services.serving.store.learners import Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """One logged prediction: `features` are doubles in the order of the plan."""

    prediction_id: str
    features: bytes
    log_partition: int
    log_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """One label as it came."""

    prediction_id: str
    label: float
    partition: int
    offset: int


async def add_predictions(
    connection: Connection,
    wanted: Wanted,
    predictions: Sequence[Predicted],
    *,
    project: str,
    now: datetime,
) -> None:
    """Keep predictions; one that is known stays as it is."""
    await connection.execute(
        """
        insert into learner_prediction (project, learner, generation, prediction_id, features,
            log_partition, log_offset, seen_at)
        select $1, $2, $3, prediction_id, features, log_partition, log_offset, $4
        from unnest($5::text[], $6::bytea[], $7::integer[], $8::bigint[])
            as given(prediction_id, features, log_partition, log_offset)
        on conflict do nothing
        """,
        project,
        wanted.learner,
        wanted.generation,
        now,
        [each.prediction_id for each in predictions],
        [each.features for each in predictions],
        [each.log_partition for each in predictions],
        [each.log_offset for each in predictions],
    )


async def add_labels(
    connection: Connection,
    wanted: Wanted,
    labels: Sequence[Labelled],
    *,
    project: str,
    now: datetime,
) -> None:
    """Put labels behind those that wait, in this order."""
    await connection.execute(
        """
        insert into learner_label (project, learner, generation, prediction_id, label,
            label_partition, label_offset, seen_at)
        select $1, $2, $3, prediction_id, label, label_partition, label_offset, $4
        from unnest($5::text[], $6::double precision[], $7::integer[], $8::bigint[])
            with ordinality
            as given(prediction_id, label, label_partition, label_offset, turn)
        order by turn
        """,
        project,
        wanted.learner,
        wanted.generation,
        now,
        [each.prediction_id for each in labels],
        [each.label for each in labels],
        [each.partition for each in labels],
        [each.offset for each in labels],
    )


async def with_labels(connection: Connection, *, project: str) -> set[str]:
    """Learners that labels wait for."""
    rows = await connection.fetch(
        "select name from learner l where project=$1 and failure is null and exists"
        " (select from learner_label where project=$1 and learner=l.name"
        "  and generation=l.generation)",
        project,
    )
    return {row["name"] for row in rows}


async def waiting(connection: Connection, learner: Learner, *, limit: int) -> list[Waiting]:
    """The next labels in their order, each with its prediction if that is known."""
    rows = await connection.fetch(
        """
        select l.place, l.prediction_id, l.label, l.label_partition, l.label_offset, l.seen_at,
            p.features, p.log_partition, p.log_offset, p.used
        from (select * from learner_label where project=$1 and learner=$2 and generation=$3
              order by place limit $4) l
        left join learner_prediction p using (project, learner, generation, prediction_id)
        order by l.place
        """,
        learner.project,
        learner.name,
        learner.generation,
        limit,
    )
    return [_waiting(row) for row in rows]


async def waiting_labels(connection: Connection, learner: Learner, *, up_to: int) -> int:
    """How many labels wait; counted no further than that."""
    count: int = await connection.fetchval(
        "select count(*) from (select from learner_label where project=$1 and learner=$2"
        " and generation=$3 limit $4) counted",
        learner.project,
        learner.name,
        learner.generation,
        up_to,
    )
    return count


async def settle(connection: Connection, learner: Learner, *, through: int) -> None:
    """Forget the labels up to this place."""
    await connection.execute(
        "delete from learner_label where project=$1 and learner=$2 and generation=$3"
        " and place <= $4",
        learner.project,
        learner.name,
        learner.generation,
        through,
    )


async def add_examples(
    connection: Connection, learner: Learner, learned: Sequence[Waiting], *, first: int
) -> None:
    """Note what was learned, numbered from `first`; a prediction is learned from once."""
    await connection.execute(
        """
        with noted as (
            insert into learner_example (project, learner, generation, number, prediction_id,
                features, label, label_partition, label_offset, log_partition, log_offset)
            select $1, $2, $3, $4 + turn - 1, prediction_id, features, label, label_partition,
                label_offset, log_partition, log_offset
            from unnest($5::text[], $6::bytea[], $7::double precision[], $8::integer[],
                $9::bigint[], $10::integer[], $11::bigint[]) with ordinality
                as given(prediction_id, features, label, label_partition, label_offset,
                         log_partition, log_offset, turn)
            returning prediction_id
        )
        update learner_prediction p set used=true from noted
        where p.project=$1 and p.learner=$2 and p.generation=$3
            and p.prediction_id=noted.prediction_id
        """,
        learner.project,
        learner.name,
        learner.generation,
        first,
        [each.prediction_id for each in learned],
        [each.features for each in learned],
        [each.label for each in learned],
        [each.partition for each in learned],
        [each.offset for each in learned],
        [each.log_partition for each in learned],
        [each.log_offset for each in learned],
    )


async def tidy(connection: Connection, learner: Learner, *, oldest: datetime) -> int:
    """Drop predictions that are too old or too many; returns how many had not been learned from."""
    count: int = await connection.fetchval(
        """
        with gone as (
            delete from learner_prediction where project=$1 and learner=$2 and seen_at <= greatest(
                $3, (select seen_at from learner_prediction where project=$1 and learner=$2
                     order by seen_at desc offset $4 limit 1))
            returning used, generation
        )
        select count(*) from gone where not used and generation=$5
        """,
        learner.project,
        learner.name,
        oldest,
        learner.settings.max_predictions,
        learner.generation,
    )
    return count


async def read_offsets(connection: Connection, *, group: str, topic: str) -> dict[int, int]:
    """The next record of each partition that a group will handle."""
    rows = await connection.fetch(
        "select part, next_offset from consumer_offset where grp=$1 and topic=$2", group, topic
    )
    return {row["part"]: row["next_offset"] for row in rows}


def _waiting(row: asyncpg.Record) -> Waiting:
    known = row["features"] is not None
    return Waiting(
        place=row["place"],
        prediction_id=row["prediction_id"],
        label=row["label"],
        partition=row["label_partition"],
        offset=row["label_offset"],
        seen_at=row["seen_at"],
        features=row["features"],
        log_partition=row["log_partition"] if known else -1,
        log_offset=row["log_offset"] if known else -1,
        used=bool(row["used"]),
    )
