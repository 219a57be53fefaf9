"""Everything that a run consists of: servers, processes of services, and what was traced."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from headrace.events.topics import Topic
from headrace.runtime.bus import Bus, Subscription
from headrace.runtime.telemetry import Log, Metrics
from tests.harness.simulation.kafka.broker import SimulatedBroker
from tests.harness.simulation.kafka.cluster import Cluster
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.network import Network, Weather
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.postgres.server import Server
from tests.harness.simulation.process import Killed, Process, here
from tests.harness.simulation.seeded import SimulatedClock, seeded

T = TypeVar("T")


class ProcessDied(Exception):
    """What a client of a service sees of it when it dies before it answers."""


class World:
    """One broker, one database server, and any number of processes; all from one seed."""

    def __init__(
        self, seed: str, loop: VirtualLoop, *, topics: Sequence[Topic], gaps: float = 0.0
    ) -> None:
        self.seed = seed
        self.loop = loop
        self.lines: list[str] = []
        self.networks = [self._network(name) for name in ("kafka", "postgres")]
        self.cluster = Cluster(self.networks[0], topics, gaps=gaps)
        self.server = Server(self.networks[1])
        self.clock = SimulatedClock(self.networks[0])
        self.metrics = Metrics()
        self.trace = self.networks[0].trace

    def stream(self, name: str) -> random.Random:
        """Randomness of its own for one purpose, so that others do not change it."""
        return random.Random(f"{self.seed}:{name}")

    def set_weather(self, weather: Weather) -> None:
        """From now on, on the ways to both servers."""
        for network in self.networks:
            network.weather = weather

    @contextmanager
    def laws(self) -> Generator[None, None, None]:
        """Run the bus by this world's seed and crash points."""
        with seeded(self.networks[0], seed=self.seed, passed=self._passed):
            yield

    def _network(self, name: str) -> Network:
        return Network(loop=self.loop, random=self.stream(name), lines=self.lines)

    def _passed(self, point: str) -> None:
        process = here()
        if process is not None and process.dies_at(point):
            self.trace(f"dies {point}")
            process.kill()
            raise Killed


class Instance:
    """One instance of a service; the process in it is replaced whenever it dies."""

    def __init__(
        self,
        world: World,
        *,
        service: str,
        number: int,
        subscribe: Callable[[], Sequence[Subscription]],
    ) -> None:
        self.service = service
        self.name = f"{service}-{number}"
        self._world = world
        self._number = number
        self._subscribe = subscribe
        self._random = world.stream(self.name)
        self._starts = 0
        self.process: Process | None = None
        self.bus: Bus | None = None
        self.running: asyncio.Task[None] | None = None

    @property
    def answers(self) -> bool:
        """Whether a client would get through."""
        return self.process is not None and self.process.alive and not self.process.frozen

    def start(self) -> Process:
        """The process that lives, started if there is none."""
        if self.process is not None and self.process.alive:
            return self.process
        self._starts += 1
        self.process = Process(f"{self.name}.{self._starts}", on_death=self._on_death)
        self._world.trace(f"{self.process.name} starts")
        self.bus = self.make_bus()
        self.bus.subscribe(self._subscribe())
        self.running = self.process.spawn(self.bus.run(), name="bus")
        return self.process

    async def stop(self) -> None:
        """End the process politely."""
        if self.process is None or not self.process.alive or self.bus is None:
            return
        await self.process.spawn(self.bus.stop(), name="stop")
        if self.running is not None:
            await asyncio.wait({self.running})
        self.process.kill()

    async def ask(self, work: Callable[[Bus], Coroutine[Any, Any, T]], *, seconds: float) -> T:
        """Have the process do something for a client. Raises ProcessDied, or TimeoutError."""
        process, bus = self.process, self.bus
        if process is None or bus is None or not process.alive:
            raise ProcessDied(self.name)
        task = process.spawn(work(bus), name="request")
        death = asyncio.ensure_future(process.death())
        await asyncio.wait({task, death}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if task.done():
            return task.result()
        if not process.alive:
            raise ProcessDied(self.name)
        raise TimeoutError(self.name)

    def make_bus(self) -> Bus:
        """The service's bus on this world's ports; it does not run."""
        world = self._world
        return Bus(
            service=self.service,
            instance=self._number,
            broker=SimulatedBroker(world.cluster),
            database=SimulatedDatabase(world.server, service=self.service),
            clock=world.clock,
            random=self._random,
            metrics=world.metrics,
            log=cast("Log", _TracedLog(world)),
        )

    def _on_death(self, process: Process) -> None:
        self._world.trace(f"{process.name} dies")
        self._world.server.sever(process)


class _TracedLog:
    """The bus's log lines as lines of the trace."""

    def __init__(self, world: World) -> None:
        self._world = world

    def bind(self, **_: object) -> _TracedLog:
        return self

    def info(self, event: str, **fields: object) -> None:
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        self._world.trace(f"{event} {told}")

    warning = error = exception = info
