"""The statements of writing and reading runs find their rows by index."""

from __future__ import annotations

from uuid import uuid4

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from headrace.runtime.bus import Caller, Tx
from services.tracking.domain.batches import Batch
from services.tracking.domain.entries import NewRun
from services.tracking.domain.points import Points
from services.tracking.domain.search import RUNS, parse_filter, parse_order
from services.tracking.store import blocks, experiments, folding, runs, search, series, writes
from services.tracking.store.run_conditions import Scope

PROJECT = "default"
SESSION = ("begin", "commit", "rollback")


async def use_a_run(tx: Tx) -> None:
    """What a training does, a resent batch and a late point included."""
    run_id = uuid4().hex
    number = await experiments.ensure_experiment(
        tx.connection, project=PROJECT, name="planned", now_ms=1
    )
    new = NewRun(run_id=run_id, experiment=number, name="n", start_time=1, tags={"a": "b"})
    await writes.start_run(tx, new, project=PROJECT)
    points = Points.of([("loss", 0.5, 5, 5), ("auc", 0.5, 5, 5)])
    many = Points.of([("loss", 0.5, 5 + step, 5 + step) for step in range(100)])
    batch = Batch(points=points, params={"lr": "1"}, tags={"t": "x"})
    late = Batch(points=Points.of([("loss", 0.25, 4, 4)]))
    for again in (batch, batch, late, Batch(points=many)):
        run = await runs.lock_run(tx.connection, project=PROJECT, run_id=run_id)
        await writes.write_batch(tx, project=PROJECT, run=run, batch=again)
        await runs.get_run(tx.connection, project=PROJECT, run_id=run_id)
        waiting = await folding.unfolded(tx.connection, project=PROJECT, experiments=[number])
        await folding.fold_all(tx, waiting, project=PROJECT)
    found = await runs.get_run(tx.connection, project=PROJECT, run_id=run_id)
    assert found.params == {"lr": "1"}
    assert len(await series.history(tx.connection, run_id=run_id, key="loss")) == 101
    drawn = await series.series(tx.connection, run_id=run_id, key="loss", steps=(1, 50))
    assert len(drawn) == 47
    part = await series.page(tx.connection, run_id=run_id, key="loss", start=10, limit=5)
    assert len(part.columns) == 5
    assert await blocks.runs_to_compact(tx.connection) == []
    assert await blocks.compact(tx.connection, run_id=run_id) == 0
    chosen = "metrics.loss > 0 AND params.lr = '1' AND tags.t LIKE 'x%'"
    scope = Scope(
        project=PROJECT,
        experiments=[number],
        stages=["active"],
        condition=parse_filter(chosen, RUNS),
    )
    orders = parse_order(["metrics.auc DESC"], RUNS)
    page = await search.find_runs(tx.connection, scope, orders=orders, limit=10)
    assert page.run_ids == [run_id]


async def test_no_statement_reads_a_whole_table(database: TestDatabase) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    asked: dict[str, tuple[object, ...]] = {}
    async with pool.acquire() as connection:
        with connection.query_logger(lambda record: asked.update({record.query: record.args})):
            await use_a_run(Tx(connection=connection, caller=Caller.none()))
        await connection.execute("set enable_seqscan = off")
        for statement, arguments in asked.items():
            if statement.lower().startswith(SESSION):
                continue
            rows = await connection.fetch(f"explain {statement}", *(arguments or ()))
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
    assert len(asked) >= 15
    await pool.close()
