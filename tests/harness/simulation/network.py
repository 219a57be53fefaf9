"""Requests between simulated processes and simulated servers: delays, lost requests and answers.

A request is served in the world outside: once sent it arrives although its sender was killed
or frozen meanwhile. What a server does with a request happens at one moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.process import Killed, here

T = TypeVar("T")
Lost = Callable[[], Exception]
"""What a client raises for a connection that broke."""

_EPOCH: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z: virtual second 0."""


@dataclass(kw_only=True, slots=True)
class Weather:
    """How bad it is at present."""

    lost_requests: float = 0.0
    """Share of requests that never arrive: the client sees a broken connection."""
    lost_answers: float = 0.0
    """Share of requests that are served although the client sees a broken connection."""
    slow: float = 0.02
    """Share of requests that take up to a second."""


@dataclass(kw_only=True, slots=True)
class Network:
    """The ways to one server; one stream of randomness decides about all of them."""

    loop: VirtualLoop
    random: random.Random
    weather: Weather = field(default_factory=Weather)
    lines: list[str] = field(default_factory=list)
    tracing: bool = True

    def wall_clock(self) -> float:
        """Seconds since the Unix epoch, virtually."""
        return _EPOCH + self.loop.time()

    def trace(self, text: str) -> None:
        """Note what happened, for replays."""
        if self.tracing:
            process = here()
            who = process.name if process else "-"
            self.lines.append(f"{self.loop.time():10.4f} {who:<16} {text}")

    def delay(self) -> float:
        """How long a message is on its way, in seconds."""
        draw = self.random.random()
        if draw < self.weather.slow:
            return self.random.uniform(0.02, 1.0)
        return 0.0002 + 0.004 * draw

    def happens(self, share: float) -> bool:
        """Draw whether something of that probability happens."""
        return self.random.random() < share


class Channel:
    """One connection: its requests arrive in the order in which they were sent."""

    def __init__(self, network: Network, *, lost: Lost) -> None:
        self._network = network
        self._lost = lost
        self._last = 0.0

    async def call(self, serve: Callable[[], T]) -> T:
        """Have a request served at one moment; raises what it raises, or what `lost` makes."""
        answer: asyncio.Future[T] = self._network.loop.create_future()
        self._send(answer, partial(_serve, serve, answer))
        return await self._receive(answer)

    async def wait(self, begin: Callable[[asyncio.Future[T]], None]) -> T:
        """Like `call`, for a request whose answer comes at some later time."""
        answer: asyncio.Future[T] = self._network.loop.create_future()
        self._send(answer, partial(_begin, begin, answer))
        return await self._receive(answer)

    def tell(self, serve: Callable[[], object]) -> None:
        """Have something done there, after what was sent before; nobody waits for it."""
        self._network.loop.call_outside(self._on_its_way(), serve)

    def _send(self, answer: asyncio.Future[T], serve: Callable[[], None]) -> None:
        process = here()
        if process is not None and not process.alive:
            raise Killed
        if self._network.happens(self._network.weather.lost_requests):
            self._network.trace("request lost")
            serve = partial(_fail, answer, self._lost)
        self.tell(serve)

    async def _receive(self, answer: asyncio.Future[T]) -> T:
        result = await answer
        if self._network.happens(self._network.weather.lost_answers):
            self._network.trace("answer lost")
            raise self._lost()
        return result

    def _on_its_way(self) -> float:
        now = self._network.loop.time()
        self._last = max(self._last, now + self._network.delay())
        return self._last - now


def _serve(serve: Callable[[], T], answer: asyncio.Future[T]) -> None:
    try:
        result = serve()
    except Exception as error:
        if not answer.done():
            answer.set_exception(error)
    else:
        if not answer.done():
            answer.set_result(result)


def _begin(begin: Callable[[asyncio.Future[T]], None], answer: asyncio.Future[T]) -> None:
    try:
        begin(answer)
    except Exception as error:
        if not answer.done():
            answer.set_exception(error)


def _fail(answer: asyncio.Future[T], lost: Lost) -> None:
    if not answer.done():
        answer.set_exception(lost())
