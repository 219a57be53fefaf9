"""The monitors of versions, and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import asyncpg

from headrace.runtime.db import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMonitor:
    """A version's monitor: `state` is the encoded Monitor, `schema` names the profiled features."""

    version: int
    active: bool
    schema: Mapping[str, Any]
    state: bytes
    fed_through_day: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert; drift alerts know their epoch and the loop turn they began."""

    alert_id: str
    version: int | None
    kind: str
    severity: str
    title: str
    detected_at_us: int
    evidence: Mapping[str, Any] | None
    drift_epoch: str | None
    correlation_id: str | None
    resolved_at_us: int | None = None
    reason: str | None = None


_MONITOR = tuple(field.name for field in fields(StoredMonitor))
_ALERT = tuple(field.name for field in fields(Alert))


async def find(connection: Connection, model_id: int, version: int) -> StoredMonitor | None:
    """A version's monitor, active or not."""
    row = await connection.fetchrow(
        "select * from monitor where model_id=$1 and version=$2", model_id, version
    )
    return _monitor(row) if row else None


async def every(connection: Connection, model_id: int) -> list[StoredMonitor]:
    """All monitors of a model, by version."""
    rows = await connection.fetch(
        "select * from monitor where model_id=$1 order by version", model_id
    )
    return [_monitor(row) for row in rows]


async def deployed_version(connection: Connection, model_id: int) -> int | None:
    """The version that answers, as far as monitoring was told."""
    version: int | None = await connection.fetchval(
        "select version from deployment where model_id=$1", model_id
    )
    return version


async def set_deployed(connection: Connection, model_id: int, version: int) -> None:
    """Note the version that answers now."""
    await connection.execute(
        "insert into deployment (model_id, version) values ($1, $2)"
        " on conflict (model_id) do update set version = excluded.version",
        model_id,
        version,
    )


async def retire_all(connection: Connection, model_id: int) -> None:
    """No monitor of the model is fed any more."""
    await connection.execute(
        "update monitor set active = false where model_id=$1 and active", model_id
    )


async def save(connection: Connection, model_id: int, monitor: StoredMonitor) -> None:
    """Write a monitor, new or changed."""
    await connection.execute(
        """
        insert into monitor (model_id, version, active, schema, state, fed_through_day)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (model_id, version) do update set active = excluded.active,
            schema = excluded.schema, state = excluded.state,
            fed_through_day = excluded.fed_through_day
        """,
        model_id,
        *(getattr(monitor, name) for name in _MONITOR),
    )


async def raise_alert(connection: Connection, model_id: int, alert: Alert) -> None:
    """Record a new alert."""
    await connection.execute(
        "insert into alert (model_id, alert_id, version, kind, severity, title, detected_at_us,"
        " evidence, drift_epoch, correlation_id, resolved_at_us, reason)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        model_id,
        *(getattr(alert, name) for name in _ALERT),
    )


async def resolve_alert(connection: Connection, alert_id: str, *, at_us: int, reason: str) -> None:
    """Record that an alert is over."""
    await connection.execute(
        "update alert set resolved_at_us=$2, reason=$3 where alert_id=$1",
        alert_id,
        at_us,
        reason,
    )


async def open_alerts(connection: Connection, model_id: int) -> list[Alert]:
    """What is not over, oldest first."""
    rows = await connection.fetch(
        "select * from alert where model_id=$1 and resolved_at_us is null order by alert_id",
        model_id,
    )
    return [_alert(row) for row in rows]


async def recent_alerts(connection: Connection, model_id: int, *, limit: int) -> list[Alert]:
    """The latest alerts, open or over, newest first."""
    rows = await connection.fetch(
        "select * from alert where model_id=$1"
        " order by detected_at_us desc, alert_id desc limit $2",
        model_id,
        limit,
    )
    return [_alert(row) for row in rows]


def _monitor(row: asyncpg.Record) -> StoredMonitor:
    return StoredMonitor(**{name: row[name] for name in _MONITOR})


def _alert(row: asyncpg.Record) -> Alert:
    return Alert(**{name: row[name] for name in _ALERT})
