"""READ COMMITTED transactions over rows named by table and key.

A statement sees what was committed before it and what its own transaction wrote. A row is
locked until the transaction ends, or until it goes back to a savepoint taken before the lock;
whoever waits for it looks at the row again once it has it. Writes become visible together, at
the commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import asyncpg

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Granted = Callable[[Exception | None], None]
"""Told None once a row is locked, or why it never will be."""


@dataclass(eq=False, slots=True)
class Table(Generic[K, V]):
    """Committed rows by key; keys of one table compare with each other."""

    rows: dict[K, V] = field(default_factory=dict)
    watch: Callable[[K, V | None], None] | None = None

    def write(self, key: K, value: V | None) -> None:
        """Commit one row; None deletes it."""
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value
        if self.watch is not None:
            self.watch(key, value)


Row = tuple[Table[Any, Any], Any]
"""A table and a key of it, whether there is such a row or not: an insert locks it too."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    transaction: Transaction
    granted: Granted


@dataclass(frozen=True, kw_only=True, slots=True)
class Savepoint:
    """What a transaction had written and locked at some moment."""

    writes: dict[Row, Any]
    held: dict[Row, None]


@dataclass(slots=True)
class Locks:
    """Row locks of one server; a cycle of waits is found at once."""

    _owners: dict[Row, Transaction] = field(default_factory=dict)
    _queues: dict[Row, deque[_Waiter]] = field(default_factory=dict)
    _waits: dict[Transaction, Row] = field(default_factory=dict)

    def acquire(self, transaction: Transaction, row: Row, granted: Granted) -> None:
        owner = self._owners.setdefault(row, transaction)
        if owner is transaction:
            transaction.held[row] = None
            granted(None)
        elif self._would_wait_for_itself(transaction, owner):
            granted(asyncpg.DeadlockDetectedError("deadlock detected"))
        else:
            self._waits[transaction] = row
            self._queues.setdefault(row, deque()).append(_Waiter(transaction, granted))

    def release(self, transaction: Transaction, row: Row) -> None:
        """Give a row to who has waited for it longest."""
        transaction.held.pop(row)
        del self._owners[row]
        queue = self._queues.get(row)
        if queue:
            waiter = queue.popleft()
            del self._waits[waiter.transaction]
            self.acquire(waiter.transaction, row, waiter.granted)

    def forget(self, transaction: Transaction) -> None:
        """Release all that a transaction holds, and stop its waiting."""
        row = self._waits.pop(transaction, None)
        if row is not None:
            waiters = self._queues[row]
            self._queues[row] = deque(one for one in waiters if one.transaction is not transaction)
        for held in list(transaction.held):
            self.release(transaction, held)

    def _would_wait_for_itself(self, transaction: Transaction, owner: Transaction) -> bool:
        while owner is not transaction:
            row = self._waits.get(owner)
            if row is None:
                return False
            owner = self._owners[row]
        return True


class Transaction:
    """Private writes and held locks; `open` until it commits or is rolled back."""

    def __init__(self, locks: Locks) -> None:
        self.open = True
        self.failed = False
        self.held: dict[Row, None] = {}
        self._locks = locks
        self._writes: dict[Row, Any] = {}

    def lock(self, row: Row, granted: Granted) -> None:
        """Lock a row, perhaps after a wait."""
        self._locks.acquire(self, row, granted)

    def get(self, table: Table[K, V], key: K) -> V | None:
        """The row as this transaction sees it."""
        if (table, key) in self._writes:
            found: V | None = self._writes[table, key]
            return found
        return table.rows.get(key)

    def scan(self, table: Table[K, V]) -> Iterator[tuple[K, V]]:
        """All rows as this transaction sees them, in the order of their keys."""
        own: dict[K, V | None] = {
            key: value for (owner, key), value in self._writes.items() if owner is table
        }
        seen: dict[Any, V | None] = {**table.rows, **own}
        for key in sorted(seen):
            value = seen[key]
            if value is not None:
                yield key, value

    def put(self, table: Table[K, V], key: K, value: V | None) -> None:
        """Write or (with None) delete a row that is locked, or that nobody else can know."""
        self._writes[table, key] = value

    def savepoint(self) -> Savepoint:
        return Savepoint(writes=dict(self._writes), held=dict(self.held))

    def rollback_to(self, savepoint: Savepoint) -> None:
        """Undo what was written since, and release what was locked since."""
        self.failed = False
        self._writes = dict(savepoint.writes)
        for row in list(self.held):
            if row not in savepoint.held:
                self._locks.release(self, row)

    def commit(self) -> None:
        """Make all writes visible at once; none of them if a statement failed."""
        self.open = False
        if not self.failed:
            for (table, key), value in self._writes.items():
                table.write(key, value)
        self._locks.forget(self)

    def rollback(self) -> None:
        """Undo all; also what is waited for."""
        self.open = False
        self._locks.forget(self)
