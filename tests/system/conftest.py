"""One platform for all system tests: starting it is most of their cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local import Stack
from deploy.local.options import SERVICES
from examples.flights import data
from examples.flights.data import Flights
from tests.system.turn import Turn, turn_the_loop
from tests.system.world import MODELS, World, running_world

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "flights"


@pytest.fixture(scope="session")
def flights() -> Flights:
    """A year of real flights, fetched once."""
    return data.load(data.fetch(CACHE))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Every process of the platform, real, on ports of its own."""
    with Stack.temporary(services=SERVICES) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(stack: Stack, flights: Flights) -> AsyncIterator[World]:
    """The platform with a first version of two models, each trained on January."""
    async with running_world(stack, flights) as connected:
        january = flights.between(date(2013, 1, 1), date(2013, 2, 1))
        for model in MODELS:
            await connected.first_model(model, january)
        yield connected


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def turn(world: World) -> Turn:
    """One turn of the loop for both models, stopped at each service on its way."""
    return await turn_the_loop(world)
