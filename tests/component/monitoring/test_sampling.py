"""A sample of the predictions tells what all of them were like; failures are no predictions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events import MonitoredDayClosed
from headrace.profiles import DayStatistics, ProfileSchema
from tests.harness.monitoring import Desk, at, batch, closing, deployment, desk, label, profile


@pytest_asyncio.fixture
async def monitoring(database: TestDatabase, bucket: TestBucket) -> AsyncIterator[Desk]:
    async with desk(database, bucket) as made:
        yield made


async def close(monitoring: Desk, model: str) -> list[MonitoredDayClosed]:
    """Carry both streams past the first day; returns what it looked like, by version."""
    last_prediction, last_label = closing(model, 0)
    await monitoring.predictions(last_prediction)
    await monitoring.labels(last_label)
    return monitoring.of(MonitoredDayClosed)


async def log(
    monitoring: Desk,
    model: str,
    *,
    rows: int,
    score: float,
    rate: float,
    temp: float = 2.0,
    truth: float | None = None,
    version: int = 1,
) -> None:
    """Predictions of one kind, and their labels if there are any."""
    made = [(f"{version}-{rate}-{score}/{row}", at(1 + row / 100)) for row in range(rows)]
    await monitoring.predictions(
        batch(
            model,
            made,
            version=version,
            scores=[score] * rows,
            temp=[temp] * rows,
            rate=rate,
        )
    )
    if truth is not None:
        labels = [label(model, name, time + timedelta(hours=1), truth) for name, time in made]
        await monitoring.labels(*labels)


async def test_rates_of_a_day_whose_rules_changed_are_those_of_all_predictions(
    monitoring: Desk,
) -> None:
    """30 of 30 had the score 0.25 and came true, 7 of the other 70 are known."""
    await log(monitoring, "m", rows=30, score=0.25, rate=1.0, truth=1.0)
    await log(monitoring, "m", rows=7, score=0.75, rate=0.1, truth=0.0)
    (day,) = await close(monitoring, "m")

    assert (day.predictions, day.labelled) == (37, 37)
    assert day.predictions_estimated == pytest.approx(100)
    assert day.mean_score == pytest.approx(0.3 * 0.25 + 0.7 * 0.75)
    assert day.positive_rate == pytest.approx(0.3)
    assert day.auc == 0.0


async def test_what_is_always_logged_does_not_shift_the_inputs(monitoring: Desk) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await log(monitoring, "m", rows=10, score=0.5, rate=0.1, temp=2.0)
    await log(monitoring, "m", rows=10, score=0.25, rate=1.0, temp=13.0)
    await close(monitoring, "m")

    (closed,) = await monitoring.closed("m")
    schema = ProfileSchema.from_document(closed["schema"])
    inputs = DayStatistics.from_bytes(schema, closed["statistics"]).inputs
    finite, _, total, _ = inputs.moments[schema.numeric.index("temp")]
    assert total / finite == pytest.approx((100 * 2.0 + 10 * 13.0) / 110)
    assert inputs.rows == 20
    assert inputs.weights.effective_rows == pytest.approx(110**2 / 1010)


async def test_the_version_that_leads_is_the_one_that_answered_most(monitoring: Desk) -> None:
    await log(monitoring, "m", rows=10, score=0.5, rate=0.1, version=1)
    await log(monitoring, "m", rows=20, score=0.5, rate=1.0, version=2)
    await close(monitoring, "m")

    leads = {closed["version"]: closed["leads"] for closed in await monitoring.closed("m")}
    assert leads == {1: True, 2: False}


async def test_requests_that_the_model_failed_on_are_no_predictions(monitoring: Desk) -> None:
    failed = batch("m", [("failed/0", at(2))])
    failed.error = "INTERNAL"
    del failed.outputs[:]
    await log(monitoring, "m", rows=3, score=0.5, rate=1.0)
    await monitoring.predictions(failed)
    (day,) = await close(monitoring, "m")

    assert day.predictions == 3
    assert monitoring.refused == []
