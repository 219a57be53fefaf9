"""A broker and a database of their own, with a pair of proxies in front of them for each slot.

The broker has one listener more for each slot, which advertises the slot's proxy: clients go
where the advertised address sends them, past any proxy that they bootstrapped from.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from deploy.local import Backends, provision
from deploy.local.credentials import Credentials
from deploy.local.identity import STACK_ID_VARIABLE
from deploy.local.kafka import kafka_spec
from deploy.local.leftovers import Leftovers, sweep_temporary
from deploy.local.ports import Ports, free_block
from deploy.local.postgres import postgres_spec
from deploy.local.process import ProcessSpec, SupervisedProcess
from deploy.local.processes import base_environment
from tests.faults.disk import SmallDisk
from tests.faults.proxy import Proxy
from tests.faults.slots import Slot

_PREFIX: Final = "headrace-faults-"
_FIRST_LISTENER: Final = 18
"""Offset in the block of ports: those before it are taken by `deploy.local`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """A slot's ways to the servers."""

    kafka: Proxy
    postgres: Proxy


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """The running servers; `backends` reaches them directly, `through` over a slot's proxies."""

    directory: Path
    backends: Backends
    kafka: SupervisedProcess
    postgres: SupervisedProcess
    links: Mapping[Slot, Links]
    disks: Mapping[str, SmallDisk]

    def through(self, slot: Slot) -> Backends:
        links = self.links[slot]
        return replace(
            self.backends,
            kafka=f"127.0.0.1:{links.kafka.port}",
            postgres_port=links.postgres.port,
        )

    @contextlib.asynccontextmanager
    async def proxied(self) -> AsyncIterator[None]:
        """The proxies forward while this is open."""
        async with contextlib.AsyncExitStack() as proxies:
            for links in self.links.values():
                await proxies.enter_async_context(links.kafka)
                await proxies.enter_async_context(links.postgres)
            yield


@contextlib.contextmanager
def running_servers(
    slots: Sequence[Slot] = (), *, small_disks: Sequence[str] = ()
) -> Iterator[Servers]:
    """Start both, durable, with topics and roles; end them and delete their data afterwards.

    `small_disks` names the servers that keep their data on a disk that a test can fill.
    """
    sweep_temporary(_PREFIX)
    with free_block() as ports:
        directory = _directory()
        leftovers = Leftovers(directory)
        leftovers.begin(base=ports.base, services=())
        disks = {name: SmallDisk(directory / name) for name in small_disks}
        try:
            with contextlib.ExitStack() as mounted:
                for disk in disks.values():
                    mounted.enter_context(disk)
                servers = _assemble(directory, ports, leftovers.stack_id, slots, disks)
                mounted.callback(_stop, servers)
                _start(servers)
                yield servers
        finally:
            leftovers.remove()


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Enterable, so that PostgreSQL's own user reaches its data.
    directory.chmod(0o711)
    for name in ("logs", "run"):
        (directory / name).mkdir(mode=0o700)
    return directory


def _assemble(
    directory: Path,
    ports: Ports,
    stack_id: str,
    slots: Sequence[Slot],
    disks: Mapping[str, SmallDisk],
) -> Servers:
    credentials = Credentials.of(directory / "credentials.json")
    env = base_environment({STACK_ID_VARIABLE: stack_id})
    listeners = {slot: ports.base + _FIRST_LISTENER + place for place, slot in enumerate(slots)}
    links = {
        slot: Links(kafka=Proxy(listeners[slot]), postgres=Proxy(ports["postgres"]))
        for slot in slots
    }
    kafka = _with_listeners(
        kafka_spec(directory=directory, ports=ports, env=env),
        ports,
        [(listeners[slot], links[slot].kafka.port) for slot in slots],
    )
    postgres = postgres_spec(
        directory=directory, ports=ports, credentials=credentials, durable=True, env=env
    )
    return Servers(
        directory=directory,
        backends=Backends.of(ports, credentials),
        kafka=SupervisedProcess(kafka, directory=directory),
        postgres=SupervisedProcess(postgres, directory=directory),
        links=links,
        disks=disks,
    )


def _with_listeners(
    spec: ProcessSpec, ports: Ports, pairs: Sequence[tuple[int, int]]
) -> ProcessSpec:
    """One listener for each pair of the port it has and the port it advertises."""
    properties = Path(spec.argv[-1])
    own = f"PLAINTEXT://127.0.0.1:{ports['kafka']}"
    controller = f"CONTROLLER://127.0.0.1:{ports['kafka-controller']}"
    names = [f"SLOT{place}" for place in range(len(pairs))]
    has = [f"{name}://127.0.0.1:{port}" for name, (port, _) in zip(names, pairs, strict=True)]
    says = [f"{name}://127.0.0.1:{port}" for name, (_, port) in zip(names, pairs, strict=True)]
    protocols = [f"{name}:PLAINTEXT" for name in ("CONTROLLER", "PLAINTEXT", *names)]
    lines = (
        f"listeners={','.join([own, controller, *has])}\n"
        f"advertised.listeners={','.join([own, *says])}\n"
        f"listener.security.protocol.map={','.join(protocols)}\n"
    )

    def prepare() -> None:
        spec.prepare()
        # Of a property given twice the last one counts.
        with properties.open("a") as file:
            file.write(lines)

    return replace(spec, prepare=prepare)


def _start(servers: Servers) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        starts = [pool.submit(one.start) for one in (servers.kafka, servers.postgres)]
        for start in starts:
            start.result()
    provision.topics(servers.backends)
    provision.database(servers.backends)


def _stop(servers: Servers) -> None:
    for links in servers.links.values():
        links.kafka.close()
        links.postgres.close()
    for process in (servers.kafka, servers.postgres):
        if process.running:
            process.resume()
        process.stop()
