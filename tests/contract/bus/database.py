"""What the bus relies on in a database, whatever stands behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Final, TypeVar

from aiokafka import ConsumerRecord, TopicPartition

from headrace.ids import new_id
from headrace.runtime.bus.model import Outgoing
from headrace.runtime.bus.ports import Database, Identity, Ledger, Parked, Standing

T = TypeVar("T")

GROUP: Final = "orchestrator.events"
PLACE: Final = TopicPartition("registry.dataset.events.v1", 0)
PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE: Final = datetime(2100, 1, 1, tzinfo=UTC)
DAY: Final = date(2026, 1, 1)


def outgoing(key: str, text: str = "{}") -> Outgoing:
    return Outgoing(
        id=new_id(), topic=PLACE.topic, key=key, type="x", payload=text.encode(), headers={"a": "b"}
    )


def parked(key: bytes, offset: int, *, next_try: datetime = PAST) -> Parked:
    record = ConsumerRecord(
        topic=PLACE.topic,
        partition=PLACE.partition,
        offset=offset,
        timestamp=1,
        timestamp_type=0,
        key=key,
        value=b"v",
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=(("ce_id", b"1"), ("odd", b"\xff")),
    )
    return Parked(
        topic=PLACE.topic,
        partition=PLACE.partition,
        offset=offset,
        key=key,
        record=record,
        attempts=1,
        error="why",
        parked_at=PAST,
        next_try=next_try,
    )


def identity(name: str) -> Identity:
    return Identity(source="/foreign", id=name, day=DAY)


async def advance(ledger: Ledger, before: int, after: int) -> int | None:
    return await ledger.advance(
        GROUP, PLACE, standing=Standing(held=before), after=Standing(held=after)
    )


class DatabaseContract:
    """Inherited by one class of tests for each database; `database` is its fixture."""

    async def test_a_group_begins_once_and_goes_on_where_it_is(self, database: Database) -> None:
        assert await database.standing(GROUP, PLACE) is None
        assert (await database.begin(GROUP, PLACE, 7)).held == 7
        assert (await database.begin(GROUP, PLACE, 9)).held == 7
        assert await database.standing(GROUP, PLACE) == Standing(held=7)

    async def test_offset_and_numbers_move_together_or_not_at_all(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 0)
        before, after = Standing(held=0), Standing(held=5, seen={b"/a": b"3"})
        with suppress(_Undone):
            async with database.transaction() as ledger:
                await ledger.advance(GROUP, PLACE, standing=before, after=after)
                raise _Undone
        assert await database.standing(GROUP, PLACE) == before

        async with database.transaction() as ledger:
            assert await ledger.advance(GROUP, PLACE, standing=before, after=after) == 0
        assert await database.standing(GROUP, PLACE) == after

    async def test_an_offset_that_is_not_held_is_not_moved(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 3)
        async with database.transaction() as ledger:
            assert await advance(ledger, 2, 9) is None
        assert await database.standing(GROUP, PLACE) == Standing(held=3)

    async def test_who_waits_for_an_offset_looks_at_it_again(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 0)
        second = _Waiting(_advance_alone(database, 0, 4))
        async with database.transaction() as ledger:
            assert await advance(ledger, 0, 2) == 0
            await second.begin()
        assert await second.result() is None

        assert await database.standing(GROUP, PLACE) == Standing(held=2)

    async def test_who_waits_for_one_that_rolls_back_goes_on(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 0)
        second = _Waiting(_advance_alone(database, 0, 4))
        with suppress(_Undone):
            async with database.transaction() as ledger:
                await advance(ledger, 0, 2)
                await second.begin()
                raise _Undone
        assert await second.result() == 0

        assert await database.standing(GROUP, PLACE) == Standing(held=4)

    async def test_holding_a_partition_keeps_its_offset(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 0)
        second = _Waiting(_advance_alone(database, 0, 4))
        async with database.transaction() as ledger:
            await ledger.hold(GROUP, PLACE)
            await second.begin()
        assert await second.result() == 0

    async def test_parked_records_come_back_whole_and_in_the_order_of_their_key(
        self, database: Database
    ) -> None:
        await database.begin(GROUP, PLACE, 0)
        records = [parked(b"k", 4), parked(b"k", 2), parked(b"other", 3)]
        async with database.transaction() as ledger:
            assert await advance(ledger, 0, 5) == 0
            await ledger.park(GROUP, records)
            assert set(await ledger.parked_keys(GROUP, PLACE)) == {b"k", b"other"}
        assert await database.parked(GROUP) == (2, 3)
        async with database.transaction() as ledger:
            assert await advance(ledger, 5, 6) == 3
            first = await ledger.first_parked(GROUP, PLACE, b"k")
            assert first is not None
            assert first.offset == 2
            assert first.record.headers == records[1].record.headers
            await ledger.unpark(GROUP, first)
            second = await ledger.first_parked(GROUP, PLACE, b"k")
            assert second is not None
            assert second.offset == 4

    async def test_keys_are_due_when_their_first_record_is(self, database: Database) -> None:
        await database.begin(GROUP, PLACE, 0)
        first, later = parked(b"waits", 1, next_try=FUTURE), parked(b"waits", 2)
        async with database.transaction() as ledger:
            await ledger.park(GROUP, [first, later, parked(b"due", 3)])
        assert await database.due(GROUP) == [(PLACE, b"due")]

        async with database.transaction() as ledger:
            await ledger.postpone(GROUP, first, attempts=2, next_try=PAST, error="again")
            found = await ledger.first_parked(GROUP, PLACE, b"waits")
            assert found is not None
            assert (found.attempts, found.error) == (2, "again")
        assert {key for _, key in await database.due(GROUP)} == {b"due", b"waits"}

    async def test_a_foreign_event_is_new_once(self, database: Database) -> None:
        async with database.transaction() as ledger:
            assert set(await ledger.claim(GROUP, [identity("a"), identity("b")])) == {
                identity("a"),
                identity("b"),
            }
        async with database.transaction() as ledger:
            assert set(await ledger.claim(GROUP, [identity("b"), identity("c")])) == {identity("c")}

    async def test_a_twin_waits_until_it_is_known_what_became_of_the_other(
        self, database: Database
    ) -> None:
        second = _Waiting(_claim_alone(database, "a"))
        async with database.transaction() as ledger:
            await ledger.claim(GROUP, [identity("a")])
            await second.begin()
        assert await second.result() == 0
        second = _Waiting(_claim_alone(database, "b"))
        with suppress(_Undone):
            async with database.transaction() as ledger:
                await ledger.claim(GROUP, [identity("b")])
                await second.begin()
                raise _Undone
        assert await second.result() == 1

    async def test_a_savepoint_undoes_what_was_written_inside(self, database: Database) -> None:
        async with database.transaction() as ledger:
            await ledger.emit([outgoing("before")])
            with suppress(_Undone):
                async with ledger.savepoint():
                    await ledger.emit([outgoing("inside")])
                    raise _Undone
            await ledger.emit([outgoing("after")])
        assert await _keys_of_the_next_batch(database) == ["before", "after"]

    async def test_events_are_seen_by_the_relay_once_they_are_committed(
        self, database: Database
    ) -> None:
        async with database.transaction() as early:
            await early.emit([outgoing("early")])
            async with database.transaction() as late:
                await late.emit([outgoing("late")])
            assert await _keys_of_the_next_batch(database) == ["late"]
        assert await _keys_of_the_next_batch(database) == ["early"]

    async def test_a_batch_that_was_written_down_is_found_again(self, database: Database) -> None:
        async with database.transaction() as ledger:
            await ledger.emit([outgoing("a"), outgoing("b"), outgoing("c")])
        async with database.relay_session(_nobody) as session:
            assert await session.lead()
            assert await session.unfinished() == []
            first = await session.turn([], limit=2)
            second = await session.turn([], limit=2)
            assert first is not None
            assert second is not None
            assert (first.first, second.first) == (1, 3)
            assert await session.turn([], limit=2) is None
        async with database.relay_session(_nobody) as session:
            assert await _led(session.lead)
            assert list(await session.unfinished()) == [first, second]
            assert await session.turn([first, second], limit=0) is None
            assert await session.unfinished() == []
            assert await session.backlog() == (0, None)

    async def test_one_session_leads_until_it_ends(self, database: Database) -> None:
        async with database.relay_session(_nobody) as second:
            async with database.relay_session(_nobody) as first:
                assert await first.lead()
                assert not await second.lead()
                assert await first.incarnation() == await second.incarnation()
            assert await _led(second.lead)

    async def test_a_commit_elsewhere_is_told(self, database: Database) -> None:
        told = asyncio.Event()
        async with database.relay_session(told.set) as session:
            await session.heartbeat()
            await database.tell_committed()
            await asyncio.wait_for(told.wait(), 1)

    async def test_tidying_keeps_what_is_recent(self, database: Database) -> None:
        recent = Identity(source="/foreign", id="r", day=date(2026, 1, 2))
        async with database.transaction() as ledger:
            await ledger.claim(GROUP, [recent])
        await database.tidy(date(2026, 1, 3))
        async with database.transaction() as ledger:
            assert list(await ledger.claim(GROUP, [recent])) == []


class _Undone(Exception):
    """Rolls back."""


class _Waiting:
    """Something that another transaction holds up."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._task: asyncio.Task[Any] | None = None

    async def begin(self) -> None:
        """Start it, and give it time to come to where it waits."""
        self._task = asyncio.create_task(self._work)
        done, _ = await asyncio.wait({self._task}, timeout=0.3)
        assert not done, "nothing held it up"

    async def result(self) -> Any:
        assert self._task is not None
        return await asyncio.wait_for(self._task, 10)


async def _advance_alone(database: Database, before: int, after: int) -> int | None:
    async with database.transaction() as ledger:
        return await advance(ledger, before, after)


async def _claim_alone(database: Database, name: str) -> int:
    async with database.transaction() as ledger:
        return len(await ledger.claim(GROUP, [identity(name)]))


async def _keys_of_the_next_batch(database: Database) -> list[str]:
    """Which it then forgets."""
    async with database.relay_session(_nobody) as session:
        assert await _led(session.lead)
        batch = await session.turn([], limit=10)
        assert batch is not None
        await session.turn([batch], limit=0)
        return [row.key for row in batch.rows]


async def _led(lead: Any) -> bool:
    """A session that ended may hold its lock for a moment more."""
    for _ in range(100):
        if await lead():
            return True
        await asyncio.sleep(0.02)
    return False


def _nobody() -> None:
    """Needs no news."""
