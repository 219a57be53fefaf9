"""Identities, clocks and crash points of the bus, drawn from the seed while a run lasts."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from unittest.mock import patch

from headrace import ids, tracing
from headrace.runtime.bus import failpoints
from tests.harness.simulation.network import Network


class SimulatedClock:
    """`headrace.runtime.clock.Clock` in virtual time."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._network.wall_clock(), UTC)

    def now_ms(self) -> int:
        return int(self._network.wall_clock() * 1000)


class _SeededSecrets:
    """What identities need of `secrets`, repeatable."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def token_hex(self, size: int) -> str:
        return self._random.randbytes(size).hex()


class _VirtualTime:
    """What identities need of `time`, virtual."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def time_ns(self) -> int:
        return int(self._network.wall_clock() * 1e9)


class _AnyPoint:
    """Stands for the point named in the environment: every passage asks whether to die there."""

    def __init__(self, passed: Callable[[str], None]) -> None:
        self._passed = passed

    def __eq__(self, point: object) -> bool:
        self._passed(str(point))
        return False

    __hash__ = None  # type: ignore[assignment]


_PATCHED: Final = "_POINT"


@contextmanager
def seeded(
    network: Network, *, seed: str, passed: Callable[[str], None]
) -> Generator[None, None, None]:
    """Have the bus draw identities from the seed, and tell `passed` of every crash point."""
    secrets = _SeededSecrets(random.Random(f"{seed}:identities"))
    with (
        patch.object(ids, "secrets", secrets),
        patch.object(ids, "time", _VirtualTime(network)),
        patch.object(tracing, "secrets", secrets),
        patch.object(failpoints, _PATCHED, _AnyPoint(passed)),
    ):
        yield
