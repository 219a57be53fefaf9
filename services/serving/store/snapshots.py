"""SQL of a learner's snapshots on their way to the registry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg
import numpy as np

from headrace.learning import Examples, Plan, State, Tensor
from headrace.runtime.db import Connection
from services.serving.domain.learners import Snapshot
from services.serving.store.learners import document_of, positions_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A snapshot as it is told of; without a version the registry does not have it yet."""

    generation: int
    number: int
    publish_as: str
    digest: str
    learned: int
    positions: dict[int, int]
    created_at: datetime
    version: int | None
    published_at: datetime | None
    promotion: str | None


async def add(connection: Connection, snapshot: Snapshot) -> None:
    """A state that is to be published."""
    await connection.execute(
        """
        insert into learner_snapshot (project, learner, generation, number, model, publish_as,
            request_promotion, plan, inputs, start_state, state, start_digest, digest,
            learned_before, learned, positions_before, positions, created_at, features_from)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $19)
        """,
        snapshot.project,
        snapshot.learner,
        snapshot.generation,
        snapshot.number,
        snapshot.model,
        snapshot.publish_as,
        snapshot.request_promotion,
        snapshot.plan.model_dump(mode="json"),
        [tensor.model_dump(mode="json") for tensor in snapshot.inputs],
        snapshot.start.encode().decode(),
        snapshot.state.encode().decode(),
        snapshot.start.digest(snapshot.plan),
        snapshot.state.digest(snapshot.plan),
        snapshot.start.learned,
        snapshot.state.learned,
        document_of(snapshot.positions_before),
        document_of(snapshot.positions),
        snapshot.created_at,
        snapshot.features_from,
    )


async def next_unpublished(connection: Connection, *, project: str) -> list[Snapshot]:
    """The first snapshot of each learner that the registry does not have yet."""
    rows = await connection.fetch(
        "select distinct on (learner) * from learner_snapshot"
        " where project=$1 and published_at is null order by learner, generation, number",
        project,
    )
    return [_snapshot(row) for row in rows]


async def examples(connection: Connection, snapshot: Snapshot) -> Examples:
    """What was learned between the snapshot before it and this one, in order."""
    rows = await connection.fetch(
        "select * from learner_example where project=$1 and learner=$2 and generation=$3"
        " and number > $4 and number <= $5 order by number",
        snapshot.project,
        snapshot.learner,
        snapshot.generation,
        snapshot.start.learned,
        snapshot.state.learned,
    )
    width = len(snapshot.plan.features)
    features = np.frombuffer(b"".join(row["features"] for row in rows), "<f8")

    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([row[name] for row in rows], np.int64)

    return Examples(
        features=features.reshape(len(rows), width).astype(np.float64),
        labels=np.array([row["label"] for row in rows], np.float64),
        prediction_ids=np.array([row["prediction_id"] for row in rows], np.str_),
        label_partitions=column("label_partition"),
        label_offsets=column("label_offset"),
        log_partitions=column("log_partition"),
        log_offsets=column("log_offset"),
    )


async def version_before(connection: Connection, snapshot: Snapshot) -> tuple[int, str] | None:
    """Version and digest of the snapshot that this one goes on from."""
    row = await connection.fetchrow(
        "select version, digest from learner_snapshot where project=$1 and learner=$2"
        " and generation=$3 and number=$4 and version is not null",
        snapshot.project,
        snapshot.learner,
        snapshot.generation,
        snapshot.number - 1,
    )
    return None if row is None else (row["version"], row["digest"])


async def published(
    connection: Connection,
    snapshot: Snapshot,
    *,
    version: int,
    promotion: str | None,
    now: datetime,
) -> None:
    """The registry has it; what was learned for it need not be kept."""
    key = (snapshot.project, snapshot.learner, snapshot.generation)
    await connection.execute(
        "update learner_snapshot set version=$5, promotion=$6, published_at=$7,"
        " start_state=null, state=null"
        " where project=$1 and learner=$2 and generation=$3 and number=$4",
        *key,
        snapshot.number,
        version,
        promotion,
        now,
    )
    await connection.execute(
        "delete from learner_example where project=$1 and learner=$2 and generation=$3"
        " and number <= $4",
        *key,
        snapshot.state.learned,
    )


async def latest(
    connection: Connection, *, project: str, learner: str, limit: int
) -> list[Published]:
    """Snapshots of a learner, newest first."""
    rows = await connection.fetch(
        "select * from learner_snapshot where project=$1 and learner=$2"
        " order by generation desc, number desc limit $3",
        project,
        learner,
        limit,
    )
    return [
        Published(
            generation=row["generation"],
            number=row["number"],
            publish_as=row["publish_as"],
            digest=row["digest"],
            learned=row["learned"],
            positions=dict(positions_of(row["positions"])),
            created_at=row["created_at"],
            version=row["version"],
            published_at=row["published_at"],
            promotion=row["promotion"],
        )
        for row in rows
    ]


async def unpublished(connection: Connection, *, project: str) -> dict[str, int]:
    """How many snapshots of each learner wait for the registry."""
    rows = await connection.fetch(
        "select learner, count(*) as count from learner_snapshot"
        " where project=$1 and published_at is null group by learner",
        project,
    )
    return {row["learner"]: row["count"] for row in rows}


def _snapshot(row: asyncpg.Record) -> Snapshot:
    return Snapshot(
        project=row["project"],
        learner=row["learner"],
        generation=row["generation"],
        number=row["number"],
        model=row["model"],
        publish_as=row["publish_as"],
        features_from=row["features_from"],
        request_promotion=row["request_promotion"],
        plan=Plan.model_validate(row["plan"]),
        inputs=tuple(Tensor.model_validate(tensor) for tensor in row["inputs"]),
        start=State.decode(row["start_state"]),
        state=State.decode(row["state"]),
        positions_before=positions_of(row["positions_before"]),
        positions=positions_of(row["positions"]),
        created_at=row["created_at"],
    )
