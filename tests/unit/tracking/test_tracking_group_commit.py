"""Group commit: who waits for whom, and who gets which error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headrace.errors import Transient
from services.tracking.store.group import GroupCommit


class Ledger:
    """Where groups are flushed to; a flush waits until it is let through."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def flush(self, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(items))
        self.begun.set()
        await self.gate.wait()
        if 13 in items:
            raise ValueError("13")
        if 99 in items:
            raise OSError("disk")
        return [LookupError(str(item)) if item < 0 else item * 10 for item in items]


def committing(ledger: Ledger, *, most_in_group: int = 100) -> GroupCommit[int, int]:
    return GroupCommit(
        ledger.flush, most_in_group=most_in_group, most_waiting=100, faults=(ValueError,)
    )


async def submitted(
    commit: GroupCommit[int, int], *items: int, size: int = 1
) -> list[int | BaseException]:
    calls = (commit.submit(item, size=size) for item in items)
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_an_item_that_comes_alone_is_written_alone_and_at_once() -> None:
    ledger = Ledger()
    commit = committing(ledger)
    assert await commit.submit(1) == 10
    assert await commit.submit(2) == 20
    assert ledger.groups == [[1], [2]]


async def test_what_comes_while_a_group_is_in_flight_forms_the_next() -> None:
    ledger = Ledger()
    commit = committing(ledger)
    ledger.gate.clear()
    first = asyncio.create_task(commit.submit(1))
    await ledger.begun.wait()
    rest = asyncio.create_task(submitted(commit, 2, 3, 4))
    await asyncio.sleep(0)
    assert ledger.groups == [[1]]
    ledger.gate.set()
    assert await first == 10
    assert await rest == [20, 30, 40]
    assert ledger.groups == [[1], [2, 3, 4]]


async def test_a_group_is_closed_at_its_bound() -> None:
    ledger = Ledger()
    assert await submitted(committing(ledger, most_in_group=2), 1, 2, 3) == [10, 20, 30]
    assert ledger.groups == [[1, 2], [3]]


async def test_an_item_larger_than_a_group_is_one() -> None:
    ledger = Ledger()
    assert await submitted(committing(ledger, most_in_group=2), 1, 2, size=5) == [10, 20]
    assert ledger.groups == [[1], [2]]


async def test_each_caller_gets_its_own_error() -> None:
    results = await submitted(committing(Ledger()), 1, -2, 3)
    assert results[0] == 10
    assert isinstance(results[1], LookupError)
    assert results[2] == 30


async def test_an_item_that_fails_its_group_fails_alone() -> None:
    ledger = Ledger()
    results = await submitted(committing(ledger), 1, 2, 13, 4, 5)
    assert [one for one in results if not isinstance(one, ValueError)] == [10, 20, 40, 50]
    assert isinstance(results[2], ValueError)


async def test_a_failure_of_the_store_fails_all_once_and_the_next_group_is_tried() -> None:
    ledger = Ledger()
    commit = committing(ledger)
    results = await submitted(commit, 1, 99, 3)
    assert [type(one) for one in results] == [OSError] * 3
    assert ledger.groups == [[1, 99, 3]]
    assert await commit.submit(4) == 40


async def test_more_than_may_wait_is_turned_away() -> None:
    ledger = Ledger()
    commit = committing(ledger)
    ledger.gate.clear()
    waiting = asyncio.create_task(submitted(commit, 1, 2, size=50))
    await ledger.begun.wait()
    with pytest.raises(Transient, match="More than 100 is waiting"):
        await commit.submit(3)
    ledger.gate.set()
    assert await waiting == [10, 20]
    assert await commit.submit(3) == 30


async def test_a_caller_that_goes_away_disturbs_nobody() -> None:
    ledger = Ledger()
    commit = committing(ledger)
    ledger.gate.clear()
    leaving = asyncio.create_task(commit.submit(1))
    staying = asyncio.create_task(commit.submit(2))
    await ledger.begun.wait()
    leaving.cancel()
    ledger.gate.set()
    assert await staying == 20
    assert ledger.groups == [[1, 2]]
    with pytest.raises(asyncio.CancelledError):
        await leaving
