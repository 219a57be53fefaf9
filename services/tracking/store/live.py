"""What is logged right now, for those who watch a run: fed after the commit, kept nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from services.tracking.domain.points import Columns

_MOST_WAITING: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """Something that was logged to a run and is durable."""

    run_id: str
    columns: Columns | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Watcher:
    """News of one run, in order, for one reader.

    A reader that is too slow loses what waits and is told so: it looks at the run anew.
    """

    def __init__(self) -> None:
        self._waiting: list[News] = []
        self._came = asyncio.Event()
        self.missed = False

    def tell(self, news: News) -> None:
        """Add to what waits."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
            self.missed = True
        self._waiting.append(news)
        self._came.set()

    async def next(self, *, seconds: float) -> Sequence[News]:
        """All that came since the last call, waited for so long; empty if nothing came."""
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            return ()
        self._came.clear()
        news, self._waiting = self._waiting, []
        return news


class Hub:
    """Hands news to the watchers of its run; without any it costs one look-up."""

    def __init__(self) -> None:
        self._watchers: dict[str, list[Watcher]] = {}

    @property
    def has_watchers(self) -> bool:
        """Whether anybody watches any run."""
        return bool(self._watchers)

    def tell(self, news: News) -> None:
        """Tell all who watch the run."""
        for watcher in self._watchers.get(news.run_id, ()):
            watcher.tell(news)

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watcher]:
        """A watcher that hears everything from now on."""
        watcher = Watcher()
        self._watchers.setdefault(run_id, []).append(watcher)
        try:
            yield watcher
        finally:
            self._watchers[run_id].remove(watcher)
            if not self._watchers[run_id]:
                del self._watchers[run_id]
