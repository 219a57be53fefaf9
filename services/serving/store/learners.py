"""SQL of learners: what they are told and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import asyncpg

from headrace.errors import NotFound
from headrace.learning import Plan, State, Tensor
from headrace.runtime.db import Connection
from services.serving.domain.learners import Counts, Learner, LearnerSettings, Positions, Source

_GENERATION: Final = (
    "learner_prediction",
    "learner_label",
    "learner_example",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a learner takes from the stream."""

    learner: str
    generation: int
    model: str
    plan: Plan
    features_from: Source
    knows_inputs: bool


async def put(connection: Connection, learner: Learner) -> None:
    """A new learner, or another generation of it, which forgets what the one before kept."""
    await connection.execute(
        """
        insert into learner (project, name, model, publish_as, plan, settings, author,
            configured_at, generation, state, positions, snapshot_state, snapshot_positions,
            snapshot_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        on conflict (project, name) do update set model=excluded.model,
            publish_as=excluded.publish_as, plan=excluded.plan, settings=excluded.settings,
            author=excluded.author, configured_at=excluded.configured_at,
            generation=excluded.generation, state=excluded.state, positions=excluded.positions,
            snapshot_state=excluded.snapshot_state,
            snapshot_positions=excluded.snapshot_positions, snapshot_at=excluded.snapshot_at,
            inputs=null, learned=0, repeated=0, unjoined=0, unusable=0, expired=0,
            failure=null, trouble=null, snapshots=0, snapshot_learned=0
        """,
        learner.project,
        learner.name,
        learner.model,
        learner.settings.publish_as,
        learner.plan.model_dump(mode="json"),
        asdict(learner.settings),
        learner.author,
        learner.configured_at,
        learner.generation,
        learner.state.encode().decode(),
        document_of(learner.positions),
        learner.snapshot_state.encode().decode(),
        document_of(learner.snapshot_positions),
        learner.snapshot_at,
    )
    await forget_generations(connection, project=learner.project, learner=learner.name)


async def forget_generations(connection: Connection, *, project: str, learner: str) -> None:
    """Drop what earlier generations kept and nobody will publish."""
    for table in _GENERATION:
        await connection.execute(
            f"delete from {table} t using learner l"  # noqa: S608 - names of our own
            " where t.project=$1 and t.learner=$2 and l.project=$1 and l.name=$2"
            " and t.generation < l.generation and not exists (select from learner_snapshot s"
            "  where s.project=$1 and s.learner=$2 and s.generation=t.generation"
            "  and s.published_at is null)",
            project,
            learner,
        )


async def reconfigure(connection: Connection, learner: Learner) -> None:
    """Other settings for the same plan: what was learned stays."""
    await connection.execute(
        "update learner set publish_as=$3, settings=$4, author=$5, configured_at=$6"
        " where project=$1 and name=$2",
        learner.project,
        learner.name,
        learner.settings.publish_as,
        asdict(learner.settings),
        learner.author,
        learner.configured_at,
    )


async def delete(connection: Connection, *, project: str, name: str) -> None:
    """A learner and all that it keeps. Raises NotFound."""
    status: str = await connection.execute(
        "delete from learner where project=$1 and name=$2", project, name
    )
    if status == "DELETE 0":
        raise NotFound(f"no learner is named {name!r}")


async def find(
    connection: Connection, *, project: str, name: str, lock: bool = False
) -> Learner | None:
    """A learner; with `lock` nobody else changes it before the end of the transaction."""
    suffix = " for no key update" if lock else ""
    row = await connection.fetchrow(
        f"select * from learner where project=$1 and name=$2{suffix}",  # noqa: S608
        project,
        name,
    )
    return None if row is None else _learner(row)


async def every(connection: Connection, *, project: str) -> list[Learner]:
    """All learners by name."""
    rows = await connection.fetch("select * from learner where project=$1 order by name", project)
    return [_learner(row) for row in rows]


async def wanted(connection: Connection, *, project: str, models: Sequence[str]) -> list[Wanted]:
    """What learners take from the stream of these models."""
    rows = await connection.fetch(
        "select name, generation, model, plan, settings, inputs is not null as knows_inputs"
        " from learner"
        " where project=$1 and model = any($2::text[])",
        project,
        models,
    )
    return [
        Wanted(
            learner=row["name"],
            generation=row["generation"],
            model=row["model"],
            plan=Plan.model_validate(row["plan"]),
            features_from=row["settings"]["features_from"],
            knows_inputs=row["knows_inputs"],
        )
        for row in rows
    ]


async def save(connection: Connection, learner: Learner) -> None:
    """How far it is now; the caller holds its lock."""
    await connection.execute(
        """
        update learner set state=$3, positions=$4, learned=$5, repeated=$6, unjoined=$7,
            unusable=$8, failure=$9, snapshots=$10, snapshot_learned=$11, snapshot_state=$12,
            snapshot_positions=$13, snapshot_at=$14
        where project=$1 and name=$2
        """,
        learner.project,
        learner.name,
        learner.state.encode().decode(),
        document_of(learner.positions),
        learner.state.learned,
        learner.counts.repeated,
        learner.counts.unjoined,
        learner.counts.unusable,
        learner.failure,
        learner.snapshots,
        learner.snapshot_state.learned,
        learner.snapshot_state.encode().decode(),
        document_of(learner.snapshot_positions),
        learner.snapshot_at,
    )


async def note_inputs(
    connection: Connection, wanted: Wanted, inputs: Sequence[Tensor], *, project: str
) -> None:
    """The tensors of the model that is learned from; the first that are told hold."""
    await connection.execute(
        "update learner set inputs=$4 where project=$1 and name=$2 and generation=$3"
        " and inputs is null",
        project,
        wanted.learner,
        wanted.generation,
        [tensor.model_dump(mode="json") for tensor in inputs],
    )


async def note_unusable(
    connection: Connection, wanted: Wanted, count: int, reason: str, *, project: str
) -> None:
    """Predictions or labels that could not be used, and why the last of them."""
    await connection.execute(
        "update learner set unusable = unusable + $4, trouble=$5"
        " where project=$1 and name=$2 and generation=$3",
        project,
        wanted.learner,
        wanted.generation,
        count,
        reason,
    )


async def note_expired(connection: Connection, *, project: str, name: str, count: int) -> None:
    """Predictions that were dropped before their label came."""
    await connection.execute(
        "update learner set expired = expired + $3 where project=$1 and name=$2",
        project,
        name,
        count,
    )


def positions_of(document: dict[str, int]) -> Positions:
    """As they are stored, with numbers for keys."""
    return {int(partition): offset for partition, offset in document.items()}


def document_of(positions: Positions) -> dict[str, int]:
    """As they are stored, with text for keys."""
    return {str(partition): offset for partition, offset in positions.items()}


def _learner(row: asyncpg.Record) -> Learner:
    moment: datetime = row["snapshot_at"]
    return Learner(
        project=row["project"],
        name=row["name"],
        model=row["model"],
        plan=Plan.model_validate(row["plan"]),
        settings=LearnerSettings(**row["settings"]),
        author=row["author"],
        configured_at=row["configured_at"],
        generation=row["generation"],
        state=State.decode(row["state"]),
        positions=positions_of(row["positions"]),
        snapshot_state=State.decode(row["snapshot_state"]),
        snapshot_positions=positions_of(row["snapshot_positions"]),
        snapshot_at=moment,
        inputs=None
        if row["inputs"] is None
        else tuple(Tensor.model_validate(tensor) for tensor in row["inputs"]),
        counts=Counts(
            repeated=row["repeated"],
            unjoined=row["unjoined"],
            unusable=row["unusable"],
            expired=row["expired"],
        ),
        failure=row["failure"],
        trouble=row["trouble"],
        snapshots=row["snapshots"],
    )
