"""Group commit: what many connections ask for is written by one transaction.

An item that finds nobody writing is flushed at once; those that come while a flush is under way
form the next group. There is no timer: a lonely client does not wait, and sixty-four of them
share one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg

from headrace.errors import Transient

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_BLAMED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""What one item of a group may have caused: each is then flushed alone."""


class GroupCommit(Generic[ItemT, ResultT]):
    """Flushes items in groups, one group at a time.

    `flush` returns one outcome an item, in order: its result, or the exception that refuses it.
    A group holds at most `most` items and `most_weight` of what `weight` says of them. With
    more than `most_waiting` in the queue new ones are turned away.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        weight: Callable[[ItemT], int] = lambda _: 1,
        most: int = 256,
        most_weight: int = 65_536,
        most_waiting: int = 4096,
    ) -> None:
        self._flush = flush
        self._weight = weight
        self._most = most
        self._most_weight = most_weight
        self._most_waiting = most_waiting
        self._waiting: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        self._working: asyncio.Task[None] | None = None

    async def submit(self, item: ItemT) -> ResultT:
        """The item's result, once it is durable. Raises why it is refused, or Transient."""
        if len(self._waiting) >= self._most_waiting:
            raise Transient(f"more than {self._most_waiting} writes wait for their commit")
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="group commit")
        return await done

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    await self._commit(group)
                except Exception as error:
                    for _, done in group:
                        _settle(done, error)
        finally:
            self._working = None

    def _next_group(self) -> list[tuple[ItemT, asyncio.Future[ResultT]]]:
        count = weight = 0
        for item, _ in self._waiting[: self._most]:
            weight += self._weight(item)
            if count and weight > self._most_weight:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _commit(self, group: Sequence[tuple[ItemT, asyncio.Future[ResultT]]]) -> None:
        try:
            outcomes = await self._flush([item for item, _ in group])
        except _BLAMED as error:
            if len(group) == 1:
                _settle(group[0][1], error)
                return
            for one in group:
                await self._commit([one])
            return
        for (_, done), outcome in zip(group, outcomes, strict=True):
            _settle(done, outcome)


def _settle(done: asyncio.Future[ResultT], outcome: ResultT | Exception) -> None:
    """Who does not wait any more, since its connection is gone, is not told."""
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
