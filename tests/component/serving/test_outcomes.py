"""Outcomes are counted once each, whatever is told again, and forgotten after the horizon."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from services.serving.domain.judging import Judged, Measure, Total, Worth
from services.serving.store import outcomes
from services.serving.store.outcomes import Predicted

PROJECT = "default"
TABLE = 7


@pytest_asyncio.fixture(loop_scope="session")
async def connection(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """In a transaction that is never committed."""
    pool = await db.open_pool(shared_database.url("serving"), schema="serving")
    packages = (db.BUS_MIGRATIONS, "services.serving.migrations")
    await db.migrate(pool, schema="serving", packages=packages)
    async with pool.acquire() as opened:
        transaction = opened.transaction()
        await transaction.start()
        yield opened
        await transaction.rollback()
    pool.terminate()


def _judged(model: str, worth: Worth = "raw", *, scale: float = 1.0, low: float = 0.0) -> Judged:
    measure = Measure(source="reward", worth=worth, scale=scale, low=low)
    return Judged(model=model, measure=measure, first=TABLE, last=TABLE)


def _predicted(model: str, number: int, *, arm: str = "bold", score: float = 0.0) -> Predicted:
    return Predicted(
        project=PROJECT,
        model=model,
        prediction_id=f"r{number}/0",
        table_version=TABLE,
        arm=arm,
        score=score,
    )


async def _totals(connection: asyncpg.Connection, model: str) -> dict[str, Total]:
    found = await outcomes.totals(connection, project=PROJECT, model=model, first=TABLE, last=TABLE)
    return dict(found)


@pytest.mark.parametrize("seed", range(5))
async def test_each_prediction_counts_once_with_the_first_that_was_told_of_it(
    connection: asyncpg.Connection, model: str, seed: int
) -> None:
    chance = random.Random(seed)
    arms = {number: chance.choice(["bold", "champion"]) for number in range(12)}
    predicted: set[int] = set()
    first_told: dict[int, float] = {}
    for _ in range(120):
        number = chance.randrange(len(arms))
        match chance.randrange(3):
            case 0:
                again = _predicted(model, number, arm=arms[number])
                await outcomes.note_predictions(connection, [again])
                predicted.add(number)
            case 1:
                value = float(chance.randrange(5))
                await outcomes.note_told(connection, [(PROJECT, model, f"r{number}/0", value)])
                first_told.setdefault(number, value)
            case _:
                await outcomes.count(connection, project=PROJECT, judged=_judged(model))
    await outcomes.count(connection, project=PROJECT, judged=_judged(model))

    values = {
        arm: [first_told[number] for number in predicted & first_told.keys() if arms[number] == arm]
        for arm in ("bold", "champion")
    }
    assert await _totals(connection, model) == {
        arm: Total(count=len(told), total=sum(told), squares=sum(value * value for value in told))
        for arm, told in values.items()
        if told
    }


@pytest.mark.parametrize(
    ("worth", "scale", "low", "score", "told", "value"),
    [
        ("raw", 1.0, 0.0, 0.0, -3.0, -3.0),
        ("bounded", 10.0, -5.0, 0.0, 0.0, 0.5),
        ("bounded", 10.0, -5.0, 0.0, 99.0, 1.0),
        ("bounded", 10.0, -5.0, 0.0, -99.0, 0.0),
        ("brier", 1.0, 0.0, 0.8, 1.0, 0.04),
        ("absolute", 4.0, 0.0, 3.0, 1.0, 0.5),
        ("absolute", 4.0, 0.0, 30.0, 1.0, 1.0),
        ("wrong", 0.5, 0.0, 1.0, 1.4, 0.0),
        ("wrong", 0.5, 0.0, 1.0, 1.6, 1.0),
    ],
)
async def test_a_value_is_what_its_measure_says(
    connection: asyncpg.Connection,
    model: str,
    worth: Worth,
    scale: float,
    low: float,
    score: float,
    told: float,
    value: float,
) -> None:
    await outcomes.note_predictions(connection, [_predicted(model, 1, score=score)])
    await outcomes.note_told(connection, [(PROJECT, model, "r1/0", told)])
    judged = _judged(model, worth, scale=scale, low=low)
    await outcomes.count(connection, project=PROJECT, judged=judged)
    total = (await _totals(connection, model))["bold"]
    assert total.count == 1
    assert total.total == pytest.approx(value)


async def test_a_prediction_without_a_score_has_no_loss(
    connection: asyncpg.Connection, model: str
) -> None:
    await outcomes.note_predictions(connection, [_predicted(model, 1, score=float("nan"))])
    await outcomes.note_told(connection, [(PROJECT, model, "r1/0", 1.0)])
    await outcomes.count(connection, project=PROJECT, judged=_judged(model, "brier"))
    assert await _totals(connection, model) == {}


async def test_what_is_older_than_the_horizon_is_forgotten_and_its_sums_stay(
    connection: asyncpg.Connection, model: str
) -> None:
    for number in range(3):
        await outcomes.note_predictions(connection, [_predicted(model, number)])
        await outcomes.note_told(connection, [(PROJECT, model, f"r{number}/0", 1.0)])
    await outcomes.count(connection, project=PROJECT, judged=_judged(model))
    await connection.execute(
        "update outcome set seen_at = now() - interval '2 hours'"
        " where model=$1 and prediction_id <> 'r2/0'",
        model,
    )
    horizon = timedelta(hours=1)

    first = await outcomes.prune(connection, project=PROJECT, horizon=horizon, limit=1)
    rest = await outcomes.prune(connection, project=PROJECT, horizon=horizon, limit=100)

    assert (first, rest) == (1, 1)
    kept = await connection.fetchval("select count(*) from outcome where model=$1", model)
    assert kept == 1
    assert (await _totals(connection, model))["bold"].count == 3


async def test_what_is_told_again_after_the_horizon_does_not_count(
    connection: asyncpg.Connection, model: str
) -> None:
    await outcomes.note_predictions(connection, [_predicted(model, 1)])
    await outcomes.note_told(connection, [(PROJECT, model, "r1/0", 1.0)])
    await outcomes.count(connection, project=PROJECT, judged=_judged(model))
    await connection.execute(
        "update outcome set seen_at = now() - interval '2 hours' where model=$1", model
    )
    horizon = timedelta(hours=1)
    assert await outcomes.prune(connection, project=PROJECT, horizon=horizon, limit=100) == 1
    await outcomes.note_told(connection, [(PROJECT, model, "r1/0", 1.0)])
    await outcomes.count(connection, project=PROJECT, judged=_judged(model))
    assert (await _totals(connection, model))["bold"].count == 1


@pytest.mark.parametrize(
    ("statement", "arguments", "index"),
    [
        (outcomes.COUNT, (TABLE, TABLE, "raw", 1.0, 0.0), "outcome_countable"),
        (outcomes.PRUNE, (timedelta(hours=1), 100), "outcome_age"),
    ],
)
async def test_counting_and_forgetting_look_rows_up(
    connection: asyncpg.Connection,
    model: str,
    statement: str,
    arguments: tuple[object, ...],
    index: str,
) -> None:
    await connection.execute(
        "insert into outcome (project, model, prediction_id, table_version, arm, score)"
        " select $1, $2, 'p' || number, $3, 'bold', 0 from generate_series(1, 20000) number",
        PROJECT,
        model,
        TABLE,
    )
    of_model = (model,) if statement is outcomes.COUNT else ()
    rows = await connection.fetch(f"explain {statement}", PROJECT, *of_model, *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan
    assert "Seq Scan" not in plan
