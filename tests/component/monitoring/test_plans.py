"""The hot statements look rows up one by one, on tables that nobody analysed yet."""

from __future__ import annotations

import pytest_asyncio

from deploy.local.testing import TestBucket, TestDatabase
from services.monitoring.event_time import Calendar, microseconds
from services.monitoring.store import labels
from tests.harness.monitoring import Desk, at, desk, drifting_day, label

DAYS, ROWS = 4, 500


@pytest_asyncio.fixture
async def plans(database: TestDatabase, bucket: TestBucket) -> dict[str, str]:
    """Plans of the hot statements by name, with some days and some waiting labels in store."""
    async with desk(database, bucket, calendar=Calendar(horizon_days=30)) as monitoring:
        for day in range(DAYS):
            logged, observed = drifting_day("m", day, rows=ROWS)
            await monitoring.predictions(logged)
            await monitoring.labels(*observed)
        last = at(24 * DAYS)
        await monitoring.labels(*(label("m", f"early/{i}", last) for i in range(ROWS)))
        names = [f"v1-1/{i}" for i in range(ROWS)]
        day = 15_740
        arguments = {
            "ADD": (names, [microseconds(last)] * ROWS, [1.0] * ROWS, [day] * ROWS, [day] * ROWS),
            "JOIN_PENDING": ([1, 2], day),
            "OF_PREDICTIONS": ([1, 2], day, microseconds(last)),
            "OF_SEGMENT": (day,),
        }
        return {name: await _explain(monitoring, name, given) for name, given in arguments.items()}


async def test_no_batch_reads_a_whole_table(plans: dict[str, str]) -> None:
    for plan in plans.values():
        assert "Seq Scan" not in plan, plan
        assert "Hash" not in plan, plan
        assert "label_pending" not in plan, plan


async def _explain(monitoring: Desk, name: str, given: tuple[object, ...]) -> str:
    model_id = (await monitoring.model("m"))["model_id"]
    async with monitoring.pool.acquire() as connection:
        rows = await connection.fetch(f"explain {getattr(labels, name)}", model_id, *given)
    return "\n".join(row[0] for row in rows)
