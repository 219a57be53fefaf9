"""Partitions of the inbox: a day each, made ahead and dropped whole."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from headrace.runtime.db import Connection

_KEPT_DAYS: Final = 8
_DAYS_AHEAD: Final = 2


async def tidy(connection: Connection, today: date) -> None:
    """Have partitions for the coming days, and none older than a week; safe to repeat.

    A foreign event is recognised for a week after the day of its `ce_time`; one with an odd
    `ce_time` for a week after it came.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext('inbox'))")
        present = await _partitions(connection)
        for ahead in range(_DAYS_AHEAD + 1):
            day = today + timedelta(days=ahead)
            if _name(day) not in present:
                await _add(connection, day)
        oldest = _name(today - timedelta(days=_KEPT_DAYS))
        for name in sorted(present):
            if name < oldest:
                await connection.execute(f"drop table {name}")
        await connection.execute(
            "delete from inbox_other where seen_at < now() - make_interval(days => $1)", _KEPT_DAYS
        )


async def _partitions(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid"
        " where inhparent = 'inbox'::regclass and relname <> 'inbox_other'"
    )
    return {row["relname"] for row in rows}


async def _add(connection: Connection, day: date) -> None:
    """What came of that day before it had a partition moves there."""
    name, after = _name(day), day + timedelta(days=1)
    await connection.execute("lock table inbox in access exclusive mode")
    await connection.execute(f"create table {name} (like inbox including all)")
    await connection.execute(
        "with moved as (delete from inbox_other where day = $1 returning *)"  # noqa: S608
        f" insert into {name} select * from moved",
        day,
    )
    await connection.execute(
        f"alter table inbox attach partition {name}"
        f" for values from ('{day.isoformat()}') to ('{after.isoformat()}')"
    )


def _name(day: date) -> str:
    return f"inbox_{day:%Y%m%d}"
