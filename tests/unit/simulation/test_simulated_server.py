"""The simulated database server: sessions that end, answers that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncpg
import pytest
from aiokafka import TopicPartition

from headrace.runtime.bus.ports import BACKEND_TROUBLE, Standing
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.network import Weather
from tests.harness.simulation.postgres.connection import SimulatedConnection
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.postgres.ledger import SimulatedLedger
from tests.harness.simulation.process import Process
from tests.harness.simulation.world import World

PLACE: Final = TopicPartition("t", 0)


def run(test: Callable[[World, SimulatedDatabase], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop(max_seconds=300)
    world = World("database", loop, topics=[])
    world.set_weather(Weather(slow=0.0))
    loop.run(test(world, SimulatedDatabase(world.server, service="s")))


async def advance(
    database: SimulatedDatabase,
    before: int,
    after: int,
    *,
    then: Callable[[], None] = lambda: None,
) -> int | None:
    """Move the offset in one transaction; `then` happens before its commit."""
    async with database.transaction() as ledger:
        waiting = await ledger.advance(
            "g", PLACE, standing=Standing(held=before), after=Standing(held=after)
        )
        then()
        return waiting


def connection_of(ledger: SimulatedLedger) -> SimulatedConnection:
    return ledger._connection


def test_a_leader_that_stands_still_loses_its_session_and_what_it_holds() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        frozen = Process("frozen", on_death=world.server.sever)

        async def lead_and_beat() -> None:
            async with database.relay_session(lambda: None) as session:
                assert await session.lead()
                while True:
                    await asyncio.sleep(0.3)
                    await session.heartbeat()

        leading = frozen.spawn(lead_and_beat(), name="lead")
        async with database.relay_session(lambda: None) as second:
            for _ in range(10):
                await asyncio.sleep(0.5)
                assert not await second.lead()
            frozen.freeze()
            await asyncio.sleep(1.0)
            await second.heartbeat()
            await asyncio.sleep(0.5)
            assert await second.lead()
            frozen.thaw()
            await asyncio.wait({leading}, timeout=5)
            assert isinstance(leading.exception(), asyncpg.IdleSessionTimeoutError)

    run(test)


def test_a_crash_loses_what_was_not_committed() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        await database.begin("g", PLACE, 0)
        with pytest.raises(BACKEND_TROUBLE):
            await advance(database, 0, 1, then=world.server.crash)
        with pytest.raises(BACKEND_TROUBLE):
            await database.standing("g", PLACE)
        world.server.restart()
        assert await advance(database, 0, 2) == 0

    run(test)


def test_a_commit_whose_answer_is_lost_holds() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        await database.begin("g", PLACE, 0)
        with pytest.raises(BACKEND_TROUBLE):
            await advance(database, 0, 1, then=lambda: world.set_weather(Weather(lost_answers=1.0)))
        world.set_weather(Weather(slow=0.0))
        assert await database.standing("g", PLACE) == Standing(held=1)

    run(test)


def test_a_commit_that_never_arrives_does_not_hold() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        await database.begin("g", PLACE, 0)
        with pytest.raises(BACKEND_TROUBLE):
            await advance(
                database, 0, 1, then=lambda: world.set_weather(Weather(lost_requests=1.0))
            )
        world.set_weather(Weather(slow=0.0))
        assert await advance(database, 0, 3) == 0

    run(test)


def test_the_locks_of_a_killed_process_are_given_back() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        await database.begin("g", PLACE, 0)
        dying = Process("dying", on_death=world.server.sever)

        async def hold() -> None:
            async with database.transaction() as ledger:
                await ledger.hold("g", PLACE)
                await asyncio.sleep(1000)

        dying.spawn(hold(), name="hold")
        await asyncio.sleep(1)
        advancing = asyncio.create_task(advance(database, 0, 1))
        await asyncio.sleep(5)
        assert not advancing.done()
        dying.kill()
        assert await asyncio.wait_for(advancing, 5) == 0

    run(test)


def test_two_transactions_that_wait_for_each_other_do_not_wait_forever() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        _ = world

        async def lock(first: str, second: str) -> str:
            try:
                async with database.transaction() as ledger:
                    await connection_of(ledger).lock_aggregate(first)
                    await asyncio.sleep(1)
                    await connection_of(ledger).lock_aggregate(second)
            except asyncpg.DeadlockDetectedError:
                return "chosen"
            return "done"

        assert sorted(await asyncio.gather(lock("a", "b"), lock("b", "a"))) == ["chosen", "done"]

    run(test)


def test_a_statement_that_failed_fails_what_comes_after_it() -> None:
    async def test(world: World, database: SimulatedDatabase) -> None:
        _ = world
        async with database.transaction() as ledger:
            connection = connection_of(ledger)
            with pytest.raises(ZeroDivisionError):
                await connection.run(lambda _: 1 / 0)
            with pytest.raises(asyncpg.InFailedSQLTransactionError):
                await connection.lock_aggregate("a")

    run(test)
