"""Group commit without a timer: what comes while one group is in flight forms the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace.errors import Transient

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Submission(Generic[ItemT, ResultT]):
    item: ItemT
    size: int
    done: asyncio.Future[ResultT]


class GroupCommit(Generic[ItemT, ResultT]):
    """Writes items of many callers in one transaction; each caller awaits its own result.

    `flush` makes a whole group durable and returns one result an item, in order; a result that
    is an exception is raised to its caller alone. What `flush` raises fails the whole group,
    unless it is one of `faults`: errors that one item may have caused. Then the group is split
    until the guilty are found. One group is in flight at a time, so items take effect in the
    order in which they came.

    Sizes are in whatever unit callers count (items, bytes). A group is closed once it holds
    `most_in_group`; when more than `most_waiting` is in hand, `submit` raises Transient.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        most_in_group: int,
        most_waiting: int,
        faults: tuple[type[Exception], ...] = (),
    ) -> None:
        self._flush = flush
        self._most_in_group = most_in_group
        self._most_waiting = most_waiting
        self._faults = faults
        self._waiting: deque[_Submission[ItemT, ResultT]] = deque()
        self._in_hand = 0
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: ItemT, *, size: int = 1) -> ResultT:
        """Return once the item's group is durable. Raises Transient if too much is in hand."""
        if self._in_hand and self._in_hand + size > self._most_waiting:
            raise Transient(f"More than {self._most_waiting} is waiting to be written. Try again.")
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submission(item, size, done))
        self._in_hand += size
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="group commit")
        return await done

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    await self._commit(group)
                finally:
                    self._in_hand -= sum(one.size for one in group)
        finally:
            self._worker = None

    def _next_group(self) -> list[_Submission[ItemT, ResultT]]:
        group = [self._waiting.popleft()]
        size = group[0].size
        while self._waiting and size + self._waiting[0].size <= self._most_in_group:
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group

    async def _commit(self, group: Sequence[_Submission[ItemT, ResultT]]) -> None:
        try:
            results = await self._flush([one.item for one in group])
        except self._faults as error:
            if len(group) == 1:
                _settle(group[0], error)
                return
            middle = len(group) // 2
            await self._commit(group[:middle])
            await self._commit(group[middle:])
        except Exception as error:
            for one in group:
                _settle(one, error)
        except BaseException:
            for one in group:
                one.done.cancel()
            raise
        else:
            for one, result in zip(group, results, strict=True):
                _settle(one, result)


def _settle(one: _Submission[ItemT, ResultT], result: ResultT | Exception) -> None:
    """Tell the caller, unless it has gone away."""
    if one.done.done():
        return
    if isinstance(result, Exception):
        one.done.set_exception(result)
    else:
        one.done.set_result(result)
