"""The reads that every call makes are index reads, whatever the tables grow to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from headrace.runtime.db import Connection
from services.registry.store import (
    aliases,
    datasets,
    deliveries,
    lineage,
    models,
    promotions,
    versions,
)
from tests.component.registry.conftest import Registry

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
Read = Callable[[Connection, str], Awaitable[object]]


async def _model_reads(connection: Connection, project: str) -> None:
    model = await models.lock(connection, project=project, name="flights")
    await aliases.holder(connection, model=model, alias="champion")
    await aliases.as_of(connection, model=model, alias="champion", moment=None)
    await promotions.waiting(connection, model=model, alias="champion")
    await promotions.policy(connection, project=project, model="flights")
    await versions.live_numbers(connection, model=model)
    await versions.latest(connection, model_ids=[model.id], stages=["None"])


async def _version_reads(connection: Connection, project: str) -> None:
    version = await versions.get(connection, project=project, name="flights", version=1)
    await versions.files(connection, version_id=version.id)
    await promotions.of_version(connection, version_id=version.id, alias="champion")


async def _dataset_reads(connection: Connection, project: str) -> None:
    await datasets.find(connection, project=project, name="data", version=None)
    await datasets.segments(connection, project=project, name="data", version=1)


async def _lineage_reads(connection: Connection, project: str) -> None:
    await lineage.behind(connection, project=project, version_id=str(uuid.uuid4()))


async def _webhook_sends(connection: Connection, project: str) -> None:
    await deliveries.add(
        connection, project=project, event="prompt.created", body="{}", now=_NOW, give_up_after=_DAY
    )
    lease = deliveries.Lease(id=str(uuid.uuid4()), webhook_id=str(uuid.uuid4()))
    await deliveries.claim(connection, project=project, limit=1, lease_for=_DAY)
    await deliveries.first_waiting(connection, lease=lease, lease_for=_DAY)
    await deliveries.tidy(connection, project=project, before=_NOW, limit=10)


@pytest.mark.parametrize(
    "read", [_model_reads, _version_reads, _dataset_reads, _lineage_reads, _webhook_sends]
)
async def test_a_hot_read_scans_no_table(registry: Registry, read: Read) -> None:
    await registry.model("flights")
    await registry.version("flights")
    await registry.dataset("data")
    asked: list[tuple[str, tuple[object, ...]]] = []
    async with registry.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        with connection.query_logger(lambda query: asked.append((query.query, query.args))):
            await read(connection, registry.project)
            await asyncio.sleep(0)  # loggers are called by the loop
        selects = [
            (sql, args)
            for sql, args in asked
            if sql.startswith(("select", "update", "insert", "delete")) or "with" in sql
        ]
        assert selects
        for sql, args in selects:
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain {sql}", *args))
            assert "Seq Scan" not in plan, f"{sql}\n{plan}"
