"""The compactor goes on with all other runs, whatever one of them holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import structlog

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.db import Connection
from services.tracking.domain.chunks import ZSTD, encode
from services.tracking.domain.points import Columns
from services.tracking.store import blocks, metrics
from services.tracking.store.compactor import Compactor
from tests.harness.bus import until


def point(step: int) -> Columns:
    return Columns(
        keys=("loss",),
        places=np.zeros(1, np.uint32),
        values=np.ones(1),
        timestamps=np.array([step], np.int64),
        steps=np.array([step], np.int64),
    )


async def add_chunks(connection: Connection, run_id: str, *, readable: bool) -> None:
    chunks = [encode(point(step)) for step in range(blocks.WORTH_IT)]
    if not readable:
        chunks = [replace(chunk, codec=ZSTD) for chunk in chunks]
    await metrics.insert_chunks(connection, [(run_id, chunk) for chunk in chunks])


async def test_a_run_that_cannot_be_compacted_keeps_no_other_from_it(
    database: TestDatabase,
) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=2)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    folded = asyncio.Event()
    async with pool.acquire() as connection:

        async def is_compacted() -> bool:
            return not await connection.fetchval(
                "select exists (select from metric_chunk where run_id = 'good' and level = 0)"
            )

        await add_chunks(connection, "bad", readable=False)
        log = structlog.get_logger()
        compacting = asyncio.create_task(Compactor(pool=pool, folded=folded, log=log).run())
        for _ in range(2):
            await add_chunks(connection, "good", readable=True)
            folded.set()
            await until(is_compacted)
        assert not compacting.done()
        compacting.cancel()
        await asyncio.wait([compacting])
    await pool.close()
