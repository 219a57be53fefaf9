"""What each page shows now, region by region, and who waits for it to change.

A region is a piece of HTML with a name. Every change of a region gets the next number of its
board, so that a browser that comes back with the last number it saw gets what it missed and
no more; a number of another process (`incarnation`) gets everything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

Regions = Mapping[str, str]
HEARTBEAT_SECONDS: Final = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Regions that changed, and the id to come back with."""

    id: str
    regions: Regions


@dataclass(slots=True)
class _Board:
    number: int = 0
    changed: dict[str, tuple[int, str]] = field(default_factory=dict)

    def update(self, regions: Regions) -> bool:
        fresh = {
            name: html
            for name, html in regions.items()
            if name not in self.changed or self.changed[name][1] != html
        }
        if fresh:
            self.number += 1
            self.changed.update({name: (self.number, html) for name, html in fresh.items()})
        return bool(fresh)

    def since(self, number: int) -> Regions:
        return {name: html for name, (when, html) in self.changed.items() if when > number}


class Boards:
    """One board a model; only those that somebody looks at are rendered again."""

    def __init__(self, *, render: Callable[[str], Regions], incarnation: str) -> None:
        self._render = render
        self._incarnation = incarnation
        self._boards: dict[str, _Board] = {}
        self._watched: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def watched(self) -> bool:
        """Whether anybody is looking."""
        return any(self._watched.values())

    def snapshot(self, model: str) -> Change:
        """Everything on the board of a model, rendered now."""
        board = self._boards.setdefault(model, _Board())
        board.update(self._render(model))
        return Change(id=self._id(board.number), regions=board.since(0))

    async def refresh(self) -> None:
        """Render what is looked at and wake those whose board changed."""
        changed = False
        for model in [name for name, count in self._watched.items() if count > 0]:
            board = self._boards.setdefault(model, _Board())
            changed = board.update(self._render(model)) or changed
            await asyncio.sleep(0)
        if changed:
            async with self._changed:
                self._changed.notify_all()

    async def close(self) -> None:
        """End all streams: the process stops."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def changes(self, model: str, after: str | None) -> AsyncGenerator[Change | None, None]:
        """Changes of a board from the id `after` on; None is a heartbeat."""
        seen = self._number(after)
        self._watched[model] += 1
        try:
            self.snapshot(model)
            while not self._closed:
                board = self._boards[model]
                if board.number > seen:
                    change = Change(id=self._id(board.number), regions=board.since(seen))
                    seen = board.number
                    yield change
                    continue
                if not await self._wait(board, seen):
                    yield None
        finally:
            self._watched[model] -= 1

    async def _wait(self, board: _Board, seen: int) -> bool:
        """Whether there is something new; False after a heartbeat's time without."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._closed or board.number > seen)
                return True
        return False

    def _id(self, number: int) -> str:
        return f"{self._incarnation}.{number}"

    def _number(self, identifier: str | None) -> int:
        incarnation, _, number = (identifier or "").rpartition(".")
        return int(number) if incarnation == self._incarnation and number.isdecimal() else 0
