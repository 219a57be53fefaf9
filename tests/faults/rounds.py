"""One round after the other in one running fleet: traffic and faults, rest, verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from tests.faults import findings, log
from tests.faults.findings import Found
from tests.faults.fleet import Fleet
from tests.faults.foreign import Foreign
from tests.faults.inject import Injector
from tests.faults.journal import Told, finished, read_journals
from tests.faults.orders import Orders
from tests.faults.plan import Plan
from tests.faults.servers import Servers
from tests.faults.worker import FIRST, SECOND, prepare
from tests.harness.history import (
    Attempt,
    Group,
    History,
    OffsetSnapshot,
    Outbox,
    Outcome,
    Violation,
    check,
)

_REST_SECONDS: Final = 60.0
_OWN: Final = "registry.dataset.events.v1"
_FOLLOW_UPS: Final = "orchestrator.pipeline-run.events.v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of one round; `restless` says what still moved when the wait was given up."""

    plan: Plan
    histories: Sequence[History]
    violations: Sequence[Violation]
    restless: Sequence[str]
    events: int
    effects: int
    seconds: float

    @property
    def sound(self) -> bool:
        return not self.violations and not self.restless

    def __str__(self) -> str:
        judged = f"{len(self.violations)} {'violations' if self.sound else 'VIOLATIONS'}"
        if self.restless:
            judged += f", not at rest ({'; '.join(self.restless)})"
        return (
            f"seed {self.plan.seed}: {self.events} events, {self.effects} effects,"
            f" {self.seconds:.1f} s, {judged} [{self.plan}]"
        )


@dataclass(slots=True)
class Rig:
    """A fleet under way; one round at a time."""

    servers: Servers
    fleet: Fleet
    injector: Injector
    twins: bool
    rest_seconds: float = _REST_SECONDS

    async def round(self, plan: Plan) -> Verdict:
        """Carry out a plan and judge what is left once everything is healed and at rest."""
        began = time.monotonic()
        until = time.time() + plan.seconds
        orders = Orders(name=round_name(plan.seed), seed=plan.seed, until=until)
        foreign = Foreign(kafka=self.servers.backends.kafka, orders=orders, twins=self.twins)
        begin, offsets_begin = await self._begin()
        orders.write(self.fleet.orders)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(foreign.run())
            tasks.create_task(self.injector.carry_out(plan, begin))
        await self.injector.heal()
        restless = await self._rest(orders)
        async with self._looking() as (connection, client):
            found = await findings.find(connection, orders.name)
            offsets = await findings.moves(connection, offsets_begin)
            records = await log.read(client, begin)
        told = read_journals(self.fleet.journals / orders.name)
        histories = [
            own_history(told, found, records, offsets),
            foreign_history(foreign.attempts, found),
        ]
        return Verdict(
            plan=plan,
            histories=histories,
            violations=[violation for history in histories for violation in check(history)],
            restless=restless,
            events=len(told.attempts) + len(foreign.attempts),
            effects=len(found.first) + len(found.second),
            seconds=time.monotonic() - began,
        )

    async def late(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Rounds whose effects became more or fewer after they were judged."""
        async with findings.connected(self.servers.backends.admin_url()) as connection:
            now = await findings.count_effects(connection)
        return [
            f"seed {verdict.plan.seed}: {verdict.effects} effects when judged,"
            f" {now.get(round_name(verdict.plan.seed), 0)} at the end"
            for verdict in verdicts
            if now.get(round_name(verdict.plan.seed), 0) != verdict.effects
        ]

    async def _begin(self) -> tuple[log.Marks, Mapping[str, int]]:
        async with self._looking() as (connection, client):
            return await log.ends(client), await findings.marks(connection)

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[tuple[asyncpg.Connection, AIOKafkaConsumer]]:
        """Past every proxy."""
        async with (
            findings.connected(self.servers.backends.admin_url()) as connection,
            log.reader(self.servers.backends.kafka) as client,
        ):
            yield connection, client

    async def _rest(self, orders: Orders) -> Sequence[str]:
        """Wait until nothing moves; returns what still does when the time is over."""
        deadline = time.monotonic() + self.rest_seconds
        async with self._looking() as (connection, client):
            quiet = 0
            while True:
                moving = self._producing(orders) or await findings.at_rest(connection, client)
                # An event between two hops is seen at one of two looks.
                quiet = 0 if moving else quiet + 1
                if quiet == 2 or time.monotonic() > deadline:
                    return moving
                await asyncio.sleep(0.05)

    def _producing(self, orders: Orders) -> list[str]:
        journals = self.fleet.journals / orders.name
        return [
            f"{name} produces"
            for name in self.fleet.producers()
            if not finished(journals / f"{name}.jsonl")
        ]


@asynccontextmanager
async def running_rig(servers: Servers, *, twins: bool = True) -> AsyncIterator[Rig]:
    """A fleet on these servers, tended until the end."""
    for service in ("registry", "orchestrator"):
        await prepare(servers.backends.database_url(service), service=service)
    fleet = Fleet(servers=servers, directory=servers.directory)
    injector = Injector(servers=servers, fleet=fleet)
    async with servers.proxied():
        fleet.start()
        tending = asyncio.create_task(fleet.tend())
        try:
            yield Rig(servers=servers, fleet=fleet, injector=injector, twins=twins)
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            await fleet.stop()


def round_name(seed: int) -> str:
    """What the keys of a round begin with."""
    return f"s{seed}"


def own_history(
    told: Told,
    found: Found,
    records: Sequence[ConsumerRecord],
    offsets: Sequence[OffsetSnapshot],
) -> History:
    """Of the producers with a database, which at rest says what became of the unknown ones."""
    committed = {row.id for row in found.written}
    attempts = [resolved(attempt, committed) for attempt in told.attempts]
    first = [effect for effect in found.first if "-own-" in effect.key]
    second = [effect for effect in found.second if "-own-" in effect.key]
    # A dead letter that nobody asked for is a lost effect.
    dead = [id_ for id_ in _dead_letters(records) if id_ in told.hopeless]
    return History(
        attempts=attempts,
        groups=[
            Group(name="registry's own tables", effects=found.written),
            Group(name=FIRST, effects=first, dead_letters=dead),
            Group(name=SECOND, effects=second, follows=FIRST),
        ],
        outboxes=[
            Outbox(
                service="registry",
                committed=committed,
                pending=found.pending_own,
                published=published(records, _OWN),
            ),
            Outbox(
                service="orchestrator",
                committed=found.follow_ups,
                pending=found.pending_follow_ups,
                published=published(records, _FOLLOW_UPS),
            ),
        ],
        offsets=offsets,
    )


def foreign_history(attempts: Sequence[Attempt], found: Found) -> History:
    """Of the producer without a database."""
    return History(
        attempts=attempts,
        groups=[
            Group(
                name=FIRST, effects=[effect for effect in found.first if "-foreign-" in effect.key]
            ),
            Group(
                name=SECOND,
                follows=FIRST,
                effects=[effect for effect in found.second if "-foreign-" in effect.key],
            ),
        ],
    )


def resolved(attempt: Attempt, committed: set[str]) -> Attempt:
    if attempt.outcome is not Outcome.UNKNOWN or attempt.id in committed:
        return attempt
    return Attempt(
        id=attempt.id, key=attempt.key, position=attempt.position, outcome=Outcome.ROLLED_BACK
    )


def published(records: Sequence[ConsumerRecord], topic: str) -> frozenset[str]:
    return frozenset(_header(record, "ce_id") for record in records if record.topic == topic)


def _dead_letters(records: Sequence[ConsumerRecord]) -> list[str]:
    """Ids of what the first group buried, one for each dead letter, however often it was sent."""
    topics = log.dead_letter_topics(FIRST)
    buried = {
        _header(record, "ce_id"): _header(record, "dlt_original_id")
        for record in records
        if record.topic in topics
    }
    return list(buried.values())


def _header(record: ConsumerRecord, name: str) -> str:
    return next((value.decode() for key, value in record.headers if key == name), "")
