"""Bytes that a stored point takes: tables, indexes and TOAST, once background work is done."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import asyncpg

from tests.bench.tracking import api
from tests.bench.tracking.figures import Goal
from tests.bench.tracking.requests import BATCH, Load
from tests.bench.tracking.rig import Rig
from tests.bench.tracking.servers import Server

_LOADS: Final = {
    "one-key": ("batches of 1000, one key", BATCH, 1, 200, 20),
    "ten-keys": ("batches of 1000, 10 keys", BATCH, 10, 200, 20),
    "metric": ("one by one", 1, 1, 4000, 500),
}
_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 2.0
_MOST_SECONDS: Final = 10.0
_GOAL: Final = Goal(better="less", ratio=5)
# All but the queues, whose rows are gone once they are published or folded.
_SIZE: Final = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'm', 'p') and c.relname <> all ('{outbox,run_log}')
"""


def storage(rig: Rig) -> None:
    """What the whole schema grows by, after compaction and VACUUM FULL, for each point."""
    for kind, (what, points, keys, ours, peer) in _LOADS.items():
        sizes = {}
        for server in rig.servers:
            most = ours if server is rig.ours else peer
            runs = api.new_runs(server, 1)
            before = asyncio.run(_settled_size(server))
            load = Load(kind=kind, targets=runs, most=most, seconds=_SECONDS)
            sample = rig.sample(server, load)
            stored = sample.answers.count * points
            api.check_stored(server, [(runs[0], stored // keys)], keys=["metric_0000"])
            sizes[server.name] = (asyncio.run(_settled_size(server)) - before) / stored
        rig.row(
            f"bytes a point, {what}",
            "bytes",
            sizes["ours"],
            sizes.get("mlflow"),
            goal=_GOAL,
            note="(aim 10x)",
        )


async def _settled_size(server: Server) -> int:
    """Once it has not changed for a while."""
    connection = await asyncpg.connect(server.database_url)
    try:
        deadline = time.monotonic() + _MOST_SECONDS
        size, since = -1, time.monotonic()
        while time.monotonic() < min(deadline, since + _QUIET_SECONDS):
            await connection.execute("vacuum full")
            now = int(await connection.fetchval(_SIZE, server.schema))
            if now != size:
                size, since = now, time.monotonic()
            await asyncio.sleep(0.5)
        return size
    finally:
        await connection.close()
