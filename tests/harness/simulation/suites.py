"""Suites of tests that run on the simulation as well as on the real thing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest

from headrace.events.topics import all_topics
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.world import World

T = TypeVar("T")
SuiteT = TypeVar("SuiteT")
Test = Callable[[Any, Any], Coroutine[Any, Any, None]]

_SEEDS: Final = 5


def in_virtual_time(make: Callable[[World], object]) -> Callable[[type[SuiteT]], type[SuiteT]]:
    """Give every test of a suite what `make` makes of a fresh world, under several seeds."""

    def change(suite: type[SuiteT]) -> type[SuiteT]:
        for name, test in inspect.getmembers(suite, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                setattr(suite, name, _virtually(test, make))
        return suite

    return change


def run_virtually(seed: str, main: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """Run something in a fresh world; what happened in it is printed if it raises."""
    loop = VirtualLoop()
    world = World(seed, loop, topics=all_topics())
    try:
        with world.laws():
            return loop.run(main(world))
    except BaseException:
        print("\n".join(world.lines))
        raise


def _virtually(test: Test, make: Callable[[World], object]) -> Callable[[object, int], None]:
    @pytest.mark.parametrize("seed", range(_SEEDS))
    def run(self: object, seed: int) -> None:
        run_virtually(f"suite {seed}", lambda world: test(self, make(world)))

    run.__name__ = test.__name__
    return run
