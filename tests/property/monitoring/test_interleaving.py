"""However the two streams interleave and are cut into batches, the outcome is the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events import LabelObserved, PredictionLogged
from services.monitoring.domain import MonitorConfig
from tests.harness.monitoring import Desk, at, batch, deployment, desk, label, profile

DAYS = 4
CONFIG = MonitorConfig(false_alarm_days=100, bootstrap_paths=50, min_rows=5)
_names = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Streams:
    """The two logs of one model, each in its own order."""

    predictions: list[PredictionLogged]
    labels: list[LabelObserved]


@pytest_asyncio.fixture(loop_scope="session")
async def monitoring(database: TestDatabase, bucket: TestBucket) -> AsyncIterator[Desk]:
    async with desk(database, bucket, config=CONFIG) as made:
        yield made


def streams(model: str, seed: int) -> Streams:
    """Some days with all that can happen: late and early rows, repeats, corrections, strangers."""
    draw = random.Random(seed)
    rows = [(f"p/{i}", 24 * DAYS * i / 160) for i in range(160)]
    predictions, at_row = [], 0
    while at_row < len(rows):
        size = draw.randint(1, 20)
        part = rows[at_row : at_row + size]
        at_row += size
        held_back = [row for row in part if draw.random() < 0.03]
        part = [row for row in part if row not in held_back] or part
        rows.extend(row for row in held_back if row not in part)
        predictions.append(
            batch(
                model,
                [(name, at(hours)) for name, hours in part],
                version=1 if part[0][1] < 40 else 2,
                scores=[draw.random() for _ in part],
                temp=[draw.gauss(2, 1) for _ in part],
            )
        )
        if draw.random() < 0.2:
            predictions.append(draw.choice(predictions))
    observed = _labels(model, rows[:160], draw)
    end = 24 * (DAYS + 2)
    predictions.append(batch(model, [("end/0", at(end))], version=2, scores=[0.5]))
    return Streams(predictions=predictions, labels=[*observed, label(model, "end/0", at(end))])


def _labels(model: str, rows: list[tuple[str, float]], draw: random.Random) -> list[LabelObserved]:
    timed: list[tuple[float, LabelObserved]] = []
    for name, hours in rows:
        if draw.random() < 0.1:
            continue
        seen = hours + draw.expovariate(1 / 4)
        arrives = seen + (draw.uniform(0, 20) if draw.random() < 0.1 else 0)
        timed.append((arrives, label(model, name, at(seen), float(draw.random() < 0.4))))
        if draw.random() < 0.1:
            again = seen + draw.uniform(-3, 30)
            timed.append((again, label(model, name, at(again), float(draw.random() < 0.5))))
        if draw.random() < 0.1:
            timed.append((arrives + draw.uniform(0, 30), timed[-1][1]))
    timed.extend(
        (hours, label(model, f"nobody/{hours}", at(hours))) for hours in draw.sample(range(90), 5)
    )
    return [observed for _, observed in sorted(timed, key=lambda pair: pair[0])]


async def outcome(monitoring: Desk, model: str) -> dict[str, Any]:
    row = dict(await monitoring.model(model))
    counters = {
        key: value
        for key, value in row.items()
        if key not in {"model_id", "model", "predictions_arrived_at", "labels_arrived_at"}
    }
    alerts = await monitoring.pool.fetch(
        "select version, kind, detected_at_us, evidence from alert"
        " join monitored_model using (model_id)"
        " where model=$1 order by detected_at_us, version, kind",
        model,
    )
    return {
        "segments": await monitoring.segments(model),
        "days": await monitoring.closed(model),
        "counters": counters,
        "alerts": [tuple(alert) for alert in alerts],
    }


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.randoms(use_true_random=False))
async def test_any_interleaving_gives_the_same_segments_statistics_and_alerts(
    monitoring: Desk, seed: int, cuts: random.Random
) -> None:
    trained = profile(days=20, rows=40)
    one, other = (f"m{next(_names)}" for _ in range(2))
    for model in (one, other):
        await monitoring.deployed(await deployment(monitoring, model, 1, trained))

    straight = streams(one, seed)
    await monitoring.predictions(*straight.predictions)
    await monitoring.labels(*straight.labels)

    mixed = streams(other, seed)
    left, right = list(mixed.predictions), list(mixed.labels)
    while left or right:
        if left and (not right or cuts.random() < 0.5):
            size = cuts.randint(1, 12)
            await monitoring.predictions(*left[:size])
            del left[:size]
        else:
            size = cuts.randint(1, 60)
            await monitoring.labels(*right[:size])
            del right[:size]

    expected = await outcome(monitoring, one)
    assert len(expected["segments"]) >= DAYS
    assert await outcome(monitoring, other) == expected
