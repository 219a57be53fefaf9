"""The simulated database answers drawn sequences of calls exactly as PostgreSQL does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from aiokafka import TopicPartition

from headrace.runtime.bus.ports import (
    Database,
    Ledger,
    Parked,
    RelayBatch,
    Standing,
)
from headrace.runtime.bus.postgres import Postgres
from tests.contract.bus.database import FUTURE, GROUP, PAST, identity, outgoing, parked
from tests.contract.bus.world import until
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.suites import run_virtually

_SERVICE: Final = "orchestrator"
_TURNS: Final = 60
_PLACES: Final = (
    TopicPartition("registry.dataset.events.v1", 0),
    TopicPartition("registry.dataset.events.v1", 1),
)
_KEYS: Final = (b"a", b"b", b"c")
_SOURCES: Final = (b"/registry/1", b"/tracking/2")


class _Undone(Exception):
    """Rolls back."""


class _Script:
    """Draws calls and writes down the answers; what it knows it has from the answers."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._random = Random(seed)
        self._offset = 0
        self.answers: list[str] = []

    async def run(self) -> None:
        for _ in range(_TURNS):
            await self._random.choice((self._transact, self._transact, self._look, self._relay))()

    async def _look(self) -> None:
        place = self._random.choice(_PLACES)
        self._note("standing", await self._database.standing(GROUP, place))
        self._note("begin", await self._database.begin(GROUP, place, self._random.randint(0, 9)))
        self._note("due", sorted(await self._database.due(GROUP)))
        self._note("parked", await self._database.parked(GROUP))

    async def _relay(self) -> None:
        """One leader's short life: a session that stands still on a busy machine is ended."""
        async with self._database.relay_session(lambda: None) as session:
            await until(session.lead, what="the lead")
            unfinished = await session.unfinished()
            self._note("unfinished", [_told(one) for one in unfinished])
            finished = [one for one in unfinished if self._random.random() < 0.5]
            limit = self._random.choice((0, 1, 3, 100))
            self._note("turn", _told(await session.turn(finished, limit=limit)))
            self._note("backlog", (await session.backlog())[0])

    async def _transact(self) -> None:
        place = self._random.choice(_PLACES)
        standing = await self._database.begin(GROUP, place, 0)
        with suppress(_Undone):
            async with self._database.transaction() as ledger:
                if await self._advance(ledger, place, standing):
                    await self._write(ledger, place)
                if self._random.random() < 0.2:
                    raise _Undone

    async def _advance(self, ledger: Ledger, place: TopicPartition, standing: Standing) -> bool:
        known = self._random.random() < 0.8
        held = standing if known else replace(standing, held=standing.held + 1)
        number = b"%020d" % self._random.randint(1, 1000)
        seen = {**standing.seen, self._random.choice(_SOURCES): number}
        after = Standing(held=held.held + self._random.randint(1, 5), seen=seen)
        waiting = await ledger.advance(GROUP, place, standing=held, after=after)
        self._note("advance", waiting)
        return waiting is not None

    async def _write(self, ledger: Ledger, place: TopicPartition) -> None:
        for _ in range(self._random.randint(0, 4)):
            write = self._random.choice((self._park, self._work_parked, self._claim, self._emit))
            if self._random.random() < 0.3:
                with suppress(_Undone):
                    async with ledger.savepoint():
                        await write(ledger, place)
                        raise _Undone
            else:
                await write(ledger, place)
        self._note("keys", sorted(await ledger.parked_keys(GROUP, place)))

    async def _park(self, ledger: Ledger, place: TopicPartition) -> None:
        records = [self._parked(place) for _ in range(self._random.randint(1, 3))]
        await ledger.park(GROUP, records)

    async def _work_parked(self, ledger: Ledger, place: TopicPartition) -> None:
        key = self._random.choice(_KEYS)
        first = await ledger.first_parked(GROUP, place, key)
        self._note("first", first and (first.offset, first.attempts, first.next_try, first.error))
        if first is None:
            return
        if self._random.random() < 0.5:
            await ledger.unpark(GROUP, first)
        else:
            await ledger.postpone(
                GROUP, first, attempts=first.attempts + 1, next_try=FUTURE, error="again"
            )

    async def _claim(self, ledger: Ledger, place: TopicPartition) -> None:
        _ = place
        names = self._random.sample("pqrstu", self._random.randint(1, 4))
        new = await ledger.claim(GROUP, [identity(name) for name in names])
        self._note("claim", sorted(one.id for one in new))

    async def _emit(self, ledger: Ledger, place: TopicPartition) -> None:
        _ = place
        keys = self._random.choices("xyz", k=self._random.randint(1, 3))
        await ledger.emit([outgoing(key, f'{{"{key}": 1}}') for key in keys])

    def _parked(self, place: TopicPartition) -> Parked:
        self._offset += 1
        next_try = self._random.choice((PAST, FUTURE))
        one = parked(self._random.choice(_KEYS), self._offset, next_try=next_try)
        return replace(one, topic=place.topic, partition=place.partition)

    def _note(self, call: str, answer: object) -> None:
        self.answers.append(f"{call}: {answer}")


def _told(batch: RelayBatch | None) -> object:
    """Without the identities, which are drawn."""
    return batch and (
        batch.first,
        [(row.seq, row.topic, row.key, row.type, row.payload, row.headers) for row in batch.rows],
    )


async def _answers(database: Database, seed: int) -> Sequence[str]:
    script = _Script(database, seed)
    await script.run()
    return script.answers


def _simulated(seed: int) -> Sequence[str]:
    return run_virtually(
        f"conformance {seed}",
        lambda world: _answers(SimulatedDatabase(world.server, service=_SERVICE), seed),
    )


@pytest.mark.parametrize("seed", range(6))
async def test_both_databases_give_the_same_answers(postgres: Postgres, seed: int) -> None:
    real = await _answers(postgres, seed)
    simulated = await asyncio.to_thread(_simulated, seed)

    assert len(real) > _TURNS
    assert simulated == real
