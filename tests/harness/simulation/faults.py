"""What goes wrong in a run, and when: drawn from the seed, healed at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.harness.simulation.network import Weather
from tests.harness.simulation.process import Process

if TYPE_CHECKING:
    from tests.harness.simulation.world import Instance, World

_POINTS: Final = ("before_commit", "after_commit", "before_publish", "after_publish")
_CALM: Final = Weather()


@dataclass(slots=True)
class Faults:
    """Injects faults one after the other and several at once."""

    world: World
    instances: Sequence[Instance]
    random: random.Random

    async def run(self, *, seconds: float, faults: int) -> None:
        """Inject some faults within so many seconds, then heal what does not heal by itself."""
        kinds: Sequence[Callable[[], Awaitable[None]]] = (
            self._kill,
            self._kill_at_a_step,
            self._kill_at_a_point,
            self._freeze,
            self._replace_frozen,
            self._crash_broker,
            self._crash_database,
            self._storm,
            self._storm,
            self._rebalance,
            self._rebalance,
            self._expel,
            self._restart_politely,
            self._cut_logs,
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(faults):
                group.create_task(self._later(self.random.choice(kinds), seconds))
        self._heal()

    async def _later(self, fault: Callable[[], Awaitable[None]], seconds: float) -> None:
        await asyncio.sleep(self.random.uniform(0.0, seconds))
        await fault()

    def _heal(self) -> None:
        self.world.trace("all is healed")
        self.world.set_weather(_CALM)
        if not self.world.cluster.up:
            self.world.cluster.restart()
        if not self.world.server.up:
            self.world.server.restart()
        for instance in self.instances:
            if instance.process is not None:
                instance.process.disarm()
            instance.start()

    async def _kill(self) -> None:
        await self._kill_and_restart(Process.kill)

    async def _kill_at_a_step(self) -> None:
        steps = self.random.randint(1, 400)
        await self._kill_and_restart(lambda process: process.light_fuse(steps))

    async def _kill_at_a_point(self) -> None:
        point, passage = self.random.choice(_POINTS), self.random.randint(1, 4)
        await self._kill_and_restart(lambda process: process.die_at(point, passage))

    async def _kill_and_restart(self, end: Callable[[Process], None]) -> None:
        instance = self.random.choice(self.instances)
        process = instance.process
        if process is None or not process.alive:
            return
        end(process)
        try:
            async with asyncio.timeout(20):
                await process.death()
        except TimeoutError:
            return
        await asyncio.sleep(self.random.choice((0.05, 0.5, 2.0, 12.0)))
        instance.start()

    async def _freeze(self) -> None:
        instance = self.random.choice(self.instances)
        if instance.process is not None and instance.process.alive:
            await self._freeze_for(instance.process)

    async def _freeze_for(self, process: Process) -> None:
        self.world.trace(f"{process.name} is frozen")
        process.freeze()
        await asyncio.sleep(self.random.choice((0.3, 1.5, 3.0, 14.0)))
        self.world.trace(f"{process.name} goes on")
        process.thaw()

    async def _replace_frozen(self) -> None:
        """A supervisor takes a frozen process for dead and starts another; both then live."""
        instance = self.random.choice(self.instances)
        zombie = instance.process
        if zombie is None or not zombie.alive:
            return
        instance.process = None
        frozen = asyncio.create_task(self._freeze_for(zombie))
        await asyncio.sleep(self.random.uniform(0.1, 2.0))
        instance.start()
        await frozen
        await asyncio.sleep(self.random.uniform(0.1, 5.0))
        zombie.kill()

    async def _crash_broker(self) -> None:
        cluster = self.world.cluster
        if cluster.up:
            cluster.crash()
            await asyncio.sleep(self.random.choice((0.2, 1.0, 6.0)))
            cluster.restart()

    async def _crash_database(self) -> None:
        server = self.world.server
        if server.up:
            server.crash()
            await asyncio.sleep(self.random.choice((0.2, 1.0, 6.0)))
            server.restart()

    async def _storm(self) -> None:
        self.world.trace("storm")
        self.world.set_weather(
            Weather(
                lost_requests=self.random.choice((0.0, 0.05, 0.2)),
                lost_answers=self.random.choice((0.0, 0.1, 0.4)),
                slow=self.random.choice((0.02, 0.2)),
            )
        )
        await asyncio.sleep(self.random.uniform(0.5, 5.0))
        self.world.set_weather(_CALM)

    async def _rebalance(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            for group in self.world.cluster.groups.values():
                group.rebalance()
            await asyncio.sleep(self.random.uniform(0.1, 3.0))

    async def _expel(self) -> None:
        for group in self.world.cluster.groups.values():
            group.expel()

    async def _restart_politely(self) -> None:
        instance = self.random.choice(self.instances)
        process = instance.process
        if process is None or not process.alive or process.frozen:
            return
        stopping = asyncio.create_task(instance.stop())
        await asyncio.wait({stopping}, timeout=30)
        process.kill()
        await asyncio.sleep(self.random.choice((0.1, 3.0)))
        instance.start()

    async def _cut_logs(self) -> None:
        """Retention takes what every group is done with."""
        for schema in self.world.server.schemas():
            for (_, place), held in schema.offsets.rows.items():
                self.world.cluster.log(place).cut(held)
