"""One run: services, clients and faults from one seed, then rest, then the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.runtime.bus import Subscription
from tests.harness.simulation.clients import Clients
from tests.harness.simulation.evidence import SERVICES, Evidence
from tests.harness.simulation.fates import Fates
from tests.harness.simulation.faults import Faults
from tests.harness.simulation.loop import Deadlock, Endless, VirtualLoop
from tests.harness.simulation.workload import (
    FIRST,
    SECOND,
    TELEMETRY,
    TOPICS,
    Handlers,
    label_observed,
    run_requested,
)
from tests.harness.simulation.world import Instance, World

_FAULT_SECONDS: Final = 7.0
_REST_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of one seed."""

    seed: int
    violations: Sequence[str]
    trace: Sequence[str]
    steps: int
    seconds: float


def simulate(seed: int) -> Result:
    """Run one seed to rest and judge it."""
    loop = VirtualLoop()
    run = _Run(seed, loop)
    try:
        with run.world.laws():
            violations = loop.run(run.live())
    except (Deadlock, Endless) as error:
        violations = [f"{type(error).__name__}: {error}"]
    return Result(
        seed=seed,
        violations=violations,
        trace=run.world.lines,
        steps=loop.steps,
        seconds=loop.time(),
    )


class _Run:
    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.world = World(str(seed), loop, topics=TOPICS, gaps=0.2)
        self._random = self.world.stream("plan")
        self._fates = Fates(random=self.world.stream("fates"))
        self._evidence = Evidence(self.world)
        handlers = Handlers(self.world, self._fates)
        self._instances = [
            Instance(
                self.world,
                service=service,
                number=number,
                subscribe=_subscriptions(handlers, service),
            )
            for service in SERVICES
            for number in range(self._random.randint(1, 2))
        ]
        self._clients = Clients(self.world, self._instances, self.world.stream("clients"))

    async def live(self) -> list[str]:
        """Everything that happens; what was violated."""
        for instance in self._instances:
            instance.start()
        async with asyncio.TaskGroup() as group:
            for client in self._drawn_clients():
                group.create_task(client)
            group.create_task(self._make_keys_sick())
            faults = Faults(self.world, self._instances, self.world.stream("faults"))
            count = self._random.choice((0, 1, 2, 4, 6, 9))
            group.create_task(faults.run(seconds=_FAULT_SECONDS, faults=count))
        if not await self._rests():
            return [f"no rest after {_REST_SECONDS} s: {'; '.join(self._evidence.unrest())}"]
        return self._evidence.violations(self._clients)

    def _drawn_clients(self) -> Iterator[Coroutine[None, None, None]]:
        draw = self._random
        for _ in range(draw.randint(1, 3)):
            yield self._clients.use("registry", keys=("d1", "d2", "d3", "d4"), requests=12)
        if draw.random() < 0.7:
            yield self._clients.use("orchestrator", keys=("o1", "o2", "o3"), requests=10)
        for number in range(draw.randint(0, 2)):
            yield self._clients.send_foreign(run_requested(f"f{number}"), events=8)
        for number in range(draw.choice((0, 0, 2))):
            yield self._clients.send_foreign(label_observed(f"t{number}"), events=10)
        if draw.random() < 0.5:
            yield self._clients.send_poison(records=draw.randint(1, 4))

    async def _make_keys_sick(self) -> None:
        for _ in range(self._random.choice((0, 0, 1, 3))):
            await asyncio.sleep(self._random.uniform(0.0, 3.0))
            group = self._random.choice((FIRST, SECOND, TELEMETRY))
            key = self._random.choice(("d1", "d2", "o1", "f0", "t0"))
            self._fates.sicken(group, key, now=self.world.loop.time())

    async def _rests(self) -> bool:
        """Wait until nothing is left to be done."""
        deadline = self.world.loop.time() + _REST_SECONDS
        while self._evidence.unrest():
            if self.world.loop.time() > deadline:
                return False
            await asyncio.sleep(0.5)
        return True


def _subscriptions(handlers: Handlers, service: str) -> Callable[[], Sequence[Subscription]]:
    return lambda: handlers.of(service)
