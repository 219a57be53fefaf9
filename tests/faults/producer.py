"""Transactions that lock an aggregate, count it up and emit one event for each step."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from headrace.events.registry import DatasetVersionCreated
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from headrace.runtime.telemetry import Log
from tests.faults.journal import Intent, Journal
from tests.faults.orders import Orders

HOPELESS: Final = 1
TROUBLED: Final = 2
"""Instructions to the consumer, in the field `rows`: refuse for ever, or fail at first."""

_TASKS: Final = 3
_ROLLED_BACK: Final = 0.1
_ODD: Final = 0.002
_LONGEST_PAUSE: Final = 0.04
_DIGEST: Final = f"sha256:{'0' * 64}"


class Transactions(Protocol):
    """What a producer needs of the bus; the peer of the comparison has it too."""

    def transaction(self) -> AbstractAsyncContextManager[Tx]: ...


class _OnPurpose(Exception):
    """The transaction is to be rolled back."""


@dataclass(slots=True)
class Producer:
    """Follows the orders of one round after the other."""

    bus: Transactions
    name: str
    orders: Path
    journals: Path
    log: Log
    _done: set[str] = field(default_factory=set)

    async def run(self) -> None:
        while True:
            orders = Orders.read(self.orders)
            if orders is not None and orders.name not in self._done:
                await self._follow(orders)
                self._done.add(orders.name)
            await asyncio.sleep(0.02)

    async def _follow(self, orders: Orders) -> None:
        journal = Journal(self.journals / orders.name / f"{self.name}.jsonl")
        async with asyncio.TaskGroup() as tasks:
            for number in range(_TASKS):
                random = Random(f"{orders.seed}-{self.name}-{number}")
                tasks.create_task(self._produce(orders, journal, random))
        journal.finish()

    async def _produce(self, orders: Orders, journal: Journal, random: Random) -> None:
        while time.time() < orders.until:
            try:
                ids = await self._transaction(random.choice(orders.keys), journal, random)
            except _OnPurpose:
                continue
            except Exception as error:
                self.log.warning("outcome_unknown", error=repr(error))
                await asyncio.sleep(0.1)
            else:
                journal.acknowledge(ids)
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))

    async def _transaction(self, key: str, journal: Journal, random: Random) -> list[str]:
        count = random.choice([1, 1, 2, 5, 20])
        rolls_back = random.random() < _ROLLED_BACK
        async with self.bus.transaction() as tx:
            last = await _lock_and_count(tx, key, count)
            intents = []
            for position in range(last - count + 1, last + 1):
                rows = _rows(random)
                intent = Intent(
                    id=new_id(),
                    key=key,
                    position=position,
                    rolls_back=rolls_back,
                    hopeless=rows == HOPELESS,
                )
                intents.append(intent)
                _emit(tx, intent, rows)
            journal.intend(intents)
            await _write(tx, intents)
            if rolls_back:
                raise _OnPurpose
        return [intent.id for intent in intents]


def _rows(random: Random) -> int:
    drawn = random.random()
    if drawn < _ODD:
        return HOPELESS
    return TROUBLED if drawn < 2 * _ODD else 0


async def _lock_and_count(tx: Tx, key: str, count: int) -> int:
    """The aggregate's new position; its row stays locked until the end of the transaction."""
    return int(
        await tx.connection.fetchval(
            "insert into aggregate (key, position) values ($1, $2) on conflict (key)"
            " do update set position = aggregate.position + $2 returning position",
            key,
            count,
        )
    )


async def _write(tx: Tx, intents: list[Intent]) -> None:
    await tx.connection.execute(
        "insert into written (id, key) select * from unnest($1::text[], $2::text[])",
        [intent.id for intent in intents],
        [intent.key for intent in intents],
    )


def _emit(tx: Tx, intent: Intent, rows: int) -> None:
    tx.emit(
        DatasetVersionCreated(
            dataset=intent.key,
            version=intent.position,
            digest=_DIGEST,
            rows=rows,
            segments=1,
            origin="upload",
        ),
        event_id=intent.id,
    )
