"""What is logged right now, for those who watch a run: fed after the commit, kept nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from headrace.errors import Transient
from services.tracking.domain.points import Columns

_MOST_WAITING: Final = 256
_MOST_POINTS: Final = 500_000
_MOST_WATCHERS: Final = 1000


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
        self._points = 0
        self._came = asyncio.Event()
        self.missed = False

    def tell(self, news: News) -> None:
        """Add to what waits."""
        self._points += len(news.columns) if news.columns is not None else 0
        if len(self._waiting) >= _MOST_WAITING or self._points > _MOST_POINTS:
            self._waiting.clear()
            self._points = 0
            self.missed = True
        else:
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
        self._points = 0
        news, self._waiting = self._waiting, []
        return news


class Hub:
    """Hands news to the watchers of its run; without any it costs one look-up."""

    def __init__(self) -> None:
        self._watchers: dict[str, list[Watcher]] = {}
        self._count = 0

    @property
    def has_watchers(self) -> bool:
        """Whether anybody watches any run."""
        return bool(self._watchers)

    def check_room(self) -> None:
        """Raises Transient if there are as many watchers as are served at once."""
        if self._count >= _MOST_WATCHERS:
            raise Transient(f"more than {_MOST_WATCHERS} readers watch runs")

    def tell(self, news: News) -> None:
        """Tell all who watch the run."""
        for watcher in self._watchers.get(news.run_id, ()):
            watcher.tell(news)

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watcher]:
        """A watcher that hears everything from now on."""
        self._count += 1
        watcher = Watcher()
        self._watchers.setdefault(run_id, []).append(watcher)
        try:
            yield watcher
        finally:
            self._count -= 1
            self._watchers[run_id].remove(watcher)
            if not self._watchers[run_id]:
                del self._watchers[run_id]
