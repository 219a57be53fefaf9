"""The statements of writing, reading, searching and deleting traces find their rows by index."""

from __future__ import annotations

import asyncpg

from deploy.local.testing import TestDatabase
from headrace.runtime import db
from services.tracking.domain.traces import otlp
from services.tracking.domain.traces.entities import Assessment, NewTrace
from services.tracking.domain.traces.search import parse_filter, parse_order
from services.tracking.store import experiments
from services.tracking.store.traces import assessments, changes, deletes, links, reads
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.traces.search import Asked, search_traces
from services.tracking.store.traces.writes import SpanWrite
from tests.component.tracking.otlp import Sent, request, trace_id

PROJECT = "default"
FILTER = (
    "timestamp > 0 AND tag.a = 'b' AND metadata.c IS NULL AND run_id != 'r' AND feedback.f > 0.5"
    " AND NOT prompt = 'p/1' AND span.name RLIKE 'w.*'"
)


def assessment(trace: str) -> Assessment:
    return Assessment(
        assessment_id="a-1",
        trace_id=trace,
        kind="feedback",
        name="f",
        source_type="CODE",
        source_id=None,
        value=1,
        create_time=1,
        last_update_time=1,
    )


async def use_traces(pool: asyncpg.Pool, connection: db.Connection) -> None:
    """What a client does with a trace, a resent request included."""
    number = await experiments.ensure_experiment(connection, project=PROJECT, name="t", now_ms=1)
    await connection.execute(
        "insert into run (run_id, experiment_id, name, start_time, artifact_uri)"
        " values ('r', $1, 'n', 1, 'a')",
        number,
    )
    intake = TraceIntake(pool, project=PROJECT)
    sent = Sent()
    batch = otlp.read(request(sent), otlp.PROTOBUF)
    for _ in range(2):
        await intake.add_spans(SpanWrite(experiment=number, batch=batch, run_id="x"))
    one = trace_id(sent)
    new = NewTrace(
        trace_id=one,
        experiment=number,
        request_time=1,
        execution_duration=1,
        state="OK",
        tags={"a": "b"},
    )
    await intake.add_info(new)
    await links.check_run(connection, project=PROJECT, run_id="r")
    await links.link_prompts(connection, project=PROJECT, trace_id=one, prompts=[("q", "1")])
    await assessments.create_assessment(connection, assessment(one), project=PROJECT)
    await assessments.replace_assessment(connection, assessment(one))
    await changes.set_trace_tag(connection, project=PROJECT, trace_id=one, key="k", value="v")
    await changes.delete_trace_tag(connection, project=PROJECT, trace_id=one, key="k")
    trace = await reads.get_trace(connection, project=PROJECT, trace_id=one)
    assert len((await reads.get_spans(connection, [trace]))[one]) == 1
    asked = Asked(
        project=PROJECT,
        experiments=[number],
        condition=parse_filter(FILTER),
        orders=parse_order(["tag.a DESC"]),
    )
    page = await search_traces(connection, asked, limit=10, offset=0)
    assert [found.trace_id for found in page.traces] == []
    await assessments.delete_assessment(
        connection, project=PROJECT, trace_id=one, assessment_id="a-1"
    )
    deleted = await deletes.delete_traces(
        connection, project=PROJECT, experiment=number, trace_ids=None, until_ms=5, most=5
    )
    assert deleted == 1


async def test_no_statement_reads_a_whole_table(database: TestDatabase) -> None:
    pool = await db.open_pool(database.url("tracking"), schema="tracking", size=1)
    packages = (db.BUS_MIGRATIONS, "services.tracking.migrations")
    await db.migrate(pool, schema="tracking", packages=packages)
    asked: dict[str, tuple[object, ...]] = {}
    connection = await db.connect(database.url("tracking"), schema="tracking")
    async with pool.acquire() as pooled:
        pooled.add_query_logger(lambda record: asked.update({record.query: record.args}))
    with connection.query_logger(lambda record: asked.update({record.query: record.args})):
        await use_traces(pool, connection)
    await connection.execute("set enable_seqscan = off")
    for statement, arguments in asked.items():
        if statement.rstrip("; ").lower() in ("begin", "commit"):
            continue
        rows = await connection.fetch(f"explain {statement}", *(arguments or ()))
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan" not in plan, f"{statement}\n{plan}"
    assert len(asked) >= 25
    await connection.close()
    await pool.close()
