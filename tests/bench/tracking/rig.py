"""Both servers, and how a load is measured on one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from deploy.local import Stack
from deploy.local.backends import ADMIN
from tests.bench.tracking.figures import Goal, Measured, Row, Sample
from tests.bench.tracking.load import loader
from tests.bench.tracking.meter import watching_memory
from tests.bench.tracking.requests import Load
from tests.bench.tracking.servers import Ours, Peer, Server, port_of

ROUNDS: Final = 2
# More than a second of this machine can take: the clock ends a load, not its length.
_A_SECOND: Final = {
    "one-key": (900, 30),
    "ten-keys": (900, 30),
    "distinct": (900, 30),
    "metric": (9000, 500),
    "create": (6000, 500),
    "span": (40_000, 4000),
    "read": (20_000, 2000),
}


@dataclass(frozen=True, kw_only=True)
class Rig:
    """What the phases work with, and where they put what they found."""

    stack: Stack
    ours: Ours
    peer: Peer | None
    seconds: float
    chart_points: int
    search_runs: int
    rows: list[Row] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)

    @property
    def servers(self) -> Sequence[Server]:
        return (self.ours,) if self.peer is None else (self.ours, self.peer)

    def load(
        self,
        server: Server,
        kind: str,
        targets: Sequence[str],
        *,
        seed: int = 1,
        spans: int = 1,
    ) -> Load:
        """As long as this run's phases are, each connection with one of the targets."""
        ours, peer = _A_SECOND[kind]
        rate = ours if server is self.ours else peer
        return Load(
            kind=kind,
            targets=tuple(targets),
            most=int(rate * self.seconds / len(targets) / spans) + 1,
            seconds=self.seconds,
            seed=seed,
            spans=spans,
        )

    def alternate(
        self,
        phase: str,
        make: Callable[[Server, int], Load],
        *,
        each: int = 1,
        servers: Sequence[Server] = (),
        check: Callable[[Server, Load, Sample], None] | None = None,
    ) -> Pair:
        """Ours, the peer, ours, the peer; what each stored is checked after its turn."""
        chosen = servers or self.servers
        samples: dict[str, list[Sample]] = {server.name: [] for server in chosen}
        for number in range(ROUNDS):
            for server in chosen:
                load = make(server, number)
                sample = self.sample(server, load)
                samples[server.name].append(sample)
                if check is not None:
                    check(server, load, sample)
        return self.note(
            Measured(phase=phase, server=name, samples=taken, each=each)
            for name, taken in samples.items()
        )

    def note(self, measured: Iterator[Measured]) -> Pair:
        """Keep the figures of one phase: ours first, then the peer's."""
        ours, *peer = measured
        self.measured.extend((ours, *peer))
        return Pair(ours=ours, peer=peer[0] if peer else None)

    def sample(self, server: Server, load: Load) -> Sample:
        """One server under one load, work that the load leaves to it included."""
        server.settle()
        self.settle()
        with (
            loader(port_of(server), load) as ready,
            watching_memory(server.roots.service) as memory,
        ):
            before = server.roots.spent()
            answers = ready.run()
            server.settle()
            cpu = server.roots.spent() - before
        return Sample(answers=answers, cpu=cpu, memory=memory.most)

    def settle(self) -> None:
        """Write out what an earlier phase left, so that its checkpoint does not fall into this."""
        asyncio.run(_execute(self.stack.backends.admin_url(ADMIN), "checkpoint"))

    def row(
        self,
        what: str,
        unit: str,
        ours: float,
        peer: float | None = None,
        *,
        goal: Goal | None = None,
        note: str = "",
    ) -> None:
        """One line of the table, told at once."""
        row = Row(what=what, unit=unit, ours=ours, peer=peer, goal=goal, note=note)
        self.rows.append(row)
        beside = "" if peer is None else f" (MLflow {peer:,.2f})"
        print(f"  {what}: {ours:,.2f}{beside} {unit} {note}", flush=True)

    def idle(self, seconds: float = 2.0) -> dict[str, float]:
        """Milliseconds a second that ours and its servers spend on nothing."""
        before = self.ours.roots.spent()
        time.sleep(seconds)
        spent = self.ours.roots.spent() - before
        return {
            "service": spent.service / seconds * 1e3,
            "postgres": spent.postgres / seconds * 1e3,
            "kafka": spent.kafka / seconds * 1e3,
        }


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same load on both; no peer where it was left out."""

    ours: Measured
    peer: Measured | None

    def both(self, figure: Callable[[Measured], float]) -> tuple[float, float | None]:
        """The same figure of each."""
        return figure(self.ours), None if self.peer is None else figure(self.peer)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
