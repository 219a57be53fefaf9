"""A SQLite file that is only read, in short reads, from any thread."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from headrace.cli.imports.sources import Unreachable, Unreadable

Row = dict[str, Any]
_BATCH: Final = 200
_PATIENCE: Final = 60.0
"""Seconds to wait while a writer holds the file."""


class SqliteFile:
    """Tables that are not there count as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._tables = {row["name"] for row in self.rows("select name from sqlite_master")}

    def has(self, *tables: str) -> bool:
        """Whether all these tables are there."""
        return self._tables.issuperset(tables)

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._opened:
            connection.close()

    def rows(self, sql: str, *arguments: str | int) -> list[Row]:
        """Rows by column name. Raises Unreadable, Unreachable."""
        try:
            cursor = self._connection().execute(sql, arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def tuples(self, sql: str, *arguments: str | int) -> list[tuple[Any, ...]]:
        """Rows as they come. Raises Unreadable, Unreachable."""
        try:
            return self._connection().execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def owned(
        self,
        table: str,
        owner: str,
        ids: Sequence[str] | None,
        *,
        order: str = "1",
        where: str = "true",
    ) -> list[Row]:
        """Rows whose column `owner` is one of the ids; all rows if no ids are given."""
        if table not in self._tables:
            return []
        if ids is None:
            return self.rows(f"select * from {table} where {where} order by {order}")  # noqa: S608 - names from our code
        rows: list[Row] = []
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            rows += self.rows(
                f"select * from {table} where {owner} in ({marks}) and {where}"  # noqa: S608 - likewise
                f" order by {order}",
                *some,
            )
        return rows

    def texts(
        self, table: str, owner: str, ids: Sequence[str] | None, prefix: str = ""
    ) -> dict[str, dict[str, str]]:
        """Key-value pairs by owner; columns `key` and `value`, with a prefix if there is one."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        key, value = (f"{prefix}_{name}" if prefix else name for name in ("key", "value"))
        for row in self.owned(table, owner, ids, order=key):
            found[str(row[owner])][row[key]] = row[value] or ""
        return found

    def _failed(self, error: sqlite3.Error) -> Unreachable | Unreadable:
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            return Unreachable(f"{self._path}: {error}")
        return Unreadable(f"{self._path}: {error}")

    def _connection(self) -> sqlite3.Connection:
        """One connection for each thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"file:{quote(str(self._path))}?mode=ro",
                uri=True,
                timeout=_PATIENCE,
                check_same_thread=False,
            )
            self._local.connection = connection
            self._opened.append(connection)
        return connection
