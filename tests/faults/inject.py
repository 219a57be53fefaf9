"""Carries out the faults of a plan, each at its time, and heals what they left."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from dataclasses import dataclass
from random import Random
from typing import Final, assert_never

from aiokafka.errors import KafkaError

from deploy.local import identity
from deploy.local.process import SupervisedProcess
from tests.faults import log
from tests.faults.fleet import Fleet
from tests.faults.plan import (
    Backend,
    Crash,
    Disturb,
    Fault,
    Freeze,
    FreezeServer,
    FullDisk,
    Join,
    Kill,
    KillServer,
    Plan,
    Resend,
    Zombie,
)
from tests.faults.proxy import Proxy
from tests.faults.servers import Servers
from tests.faults.slots import EXTRA, Slot
from tests.faults.worker import FIRST

_READY_SECONDS: Final = 60.0
_CRASH_SECONDS: Final = 3.0
_SLOW_SECONDS: Final = 0.03
_BESIDE_SECONDS: Final = 0.7
"""How long a zombie that woke up runs beside its successor."""
_RESENT: Final = ("registry.dataset.events.v1", "orchestrator.pipeline-run.events.v1")
"""Topics that relays write to."""


@dataclass(slots=True)
class Injector:
    """Faults against a running fleet and its servers."""

    servers: Servers
    fleet: Fleet

    async def carry_out(self, plan: Plan, begin: log.Marks) -> None:
        """All faults; returns when the last one is over, or at least begun to heal.

        `begin` is where the log stood before the round: only newer records are sent again.
        """
        random = Random(plan.seed)
        async with asyncio.TaskGroup() as tasks:
            for fault in plan.faults:
                tasks.create_task(self._at_its_time(fault, random, begin))

    async def heal(self) -> None:
        """Everything runs and all ways are open."""
        for links in self.servers.links.values():
            links.kafka.heal()
            links.postgres.heal()
        for server in (self.servers.kafka, self.servers.postgres):
            await asyncio.to_thread(server.wait_ready, _READY_SECONDS)
        await self.fleet.heal()
        await asyncio.to_thread(self._remove_extra)

    async def _at_its_time(self, fault: Fault, random: Random, begin: log.Marks) -> None:
        await asyncio.sleep(fault.at)
        match fault:
            case Kill():
                self.fleet.kill(fault.slot, away=fault.away)
            case Crash():
                point = f"{fault.point}:{fault.passage}"
                await self.fleet.crash(fault.slot, point, seconds=_CRASH_SECONDS)
            case Freeze():
                await self._freeze(fault.slot, fault.seconds)
            case Zombie():
                await self._zombie(fault)
            case KillServer():
                self._server(fault.backend).kill()
            case FreezeServer():
                await self._freeze_server(fault)
            case Disturb():
                await self._disturb(fault)
            case Join():
                await self._join(fault)
            case Resend():
                await self._resend(fault, random, begin)
            case FullDisk():
                await self._full_disk(fault)
            case _:
                assert_never(fault)

    async def _freeze(self, slot: Slot, seconds: float) -> None:
        pid = self.fleet.freeze(slot)
        await asyncio.sleep(seconds)
        self.fleet.thaw(pid)

    async def _zombie(self, fault: Zombie) -> None:
        pid = self.fleet.freeze(fault.slot)
        self.fleet.succeed(fault.slot)
        await asyncio.sleep(fault.seconds)
        self.fleet.thaw(pid)
        await asyncio.sleep(_BESIDE_SECONDS)

    async def _freeze_server(self, fault: FreezeServer) -> None:
        """Whatever becomes of the server meanwhile, none of its children may stay frozen."""
        server = self._server(fault.backend)
        if not server.running:
            return
        family = identity.tree(server.pid)
        for member in family:
            identity.send(member, signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        for member in family:
            identity.send(member, signal.SIGCONT)

    async def _disturb(self, fault: Disturb) -> None:
        proxy = self._proxy(fault)
        match fault.how:
            case "cut":
                proxy.cut()
                return
            case "half-open":
                proxy.silence()
            case "slow":
                proxy.slow(_SLOW_SECONDS)
            case "cut after":
                proxy.cut_after(fault.size)
            case _:
                assert_never(fault.how)
        await asyncio.sleep(fault.seconds)
        proxy.heal()

    async def _join(self, fault: Join) -> None:
        self.fleet.join()
        await asyncio.sleep(fault.seconds)
        await self.fleet.leave()
        await asyncio.to_thread(self._remove_extra)

    async def _resend(self, fault: Resend, random: Random, begin: log.Marks) -> None:
        try:
            async with log.reader(self.servers.backends.kafka) as client:
                records = await log.read(client, begin)
            topic = random.choice(_RESENT)
            found = [record for record in records if record.topic == topic]
            first = random.randint(0, max(0, len(found) - fault.records))
            again = found[first : first + fault.records]
            await log.send_again(self.servers.backends.kafka, again)
        except (KafkaError, TimeoutError):
            # The broker may be the victim of another fault just now.
            return

    async def _full_disk(self, fault: FullDisk) -> None:
        disk = self.servers.disks[fault.backend]
        await asyncio.to_thread(disk.fill)
        await asyncio.sleep(fault.seconds)
        disk.free()

    def _server(self, backend: Backend) -> SupervisedProcess:
        return self.servers.kafka if backend == "kafka" else self.servers.postgres

    def _proxy(self, fault: Disturb) -> Proxy:
        links = self.servers.links[fault.slot]
        return links.kafka if fault.backend == "kafka" else links.postgres

    def _remove_extra(self) -> None:
        """A static member that stopped holds its partitions for 45 s, unless it is removed."""
        host, port = self.servers.backends.kafka.split(":")
        try:
            remove_member(host, int(port), group=FIRST, member=f"{FIRST}-{EXTRA.instance}")
        except OSError:
            # The broker is away: the session times out, or `heal` does it again.
            return


def remove_member(host: str, port: int, *, group: str, member: str) -> None:
    """LeaveGroup, version 3, in the Kafka protocol, which aiokafka cannot send for another."""
    body = _text(group) + struct.pack(">i", 1) + _text("") + _text(member)
    header = struct.pack(">hhi", 13, 3, 1) + _text("headrace-faults")
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        connection.recv(4)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
