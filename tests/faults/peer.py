"""The same traffic and the same faults on plain FastStream, as its own pages show it.

The producer publishes after its commit, without an outbox; the subscriber has the default
settings and writes its effect with one statement. The checker must find what that breaks.
Left out are the faults that no plain program is expected to survive: records sent again, and two
processes under one name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faststream import Header
from faststream.kafka import KafkaBroker

from headrace.events.registry import DatasetVersionCreated
from headrace.runtime import db
from headrace.runtime.bus import Caller, Tx
from headrace.runtime.telemetry import configure_logs
from tests.faults import findings, log
from tests.faults.fleet import Fleet
from tests.faults.inject import Injector
from tests.faults.journal import finished, read_journals
from tests.faults.orders import Orders
from tests.faults.plan import Disturb, Kill, Plan
from tests.faults.producer import Producer
from tests.faults.rounds import published, resolved
from tests.faults.servers import Servers
from tests.faults.slots import CONSUMERS
from tests.faults.worker import Job, prepare, until_told_to_stop, write_to
from tests.harness.bus import until
from tests.harness.history import Group, History, Outbox

GROUP: Final = "peer"
TOPIC: Final = "registry.dataset.events.v1"
PLAN: Final = Plan(
    seed=1,
    seconds=9.0,
    faults=(
        # The handler that is under way fails, and the framework goes on to the next record.
        *(
            Disturb(at=at, slot=slot, backend="postgres", how="half-open", seconds=0.8, size=0)
            for at in (1.5, 3.0, 4.5)
            for slot in CONSUMERS
        ),
        # Offsets are committed every 5 s: what was handled since then comes again.
        Kill(at=6.5, slot=CONSUMERS[1], away=0.2),
        Kill(at=8.0, slot=CONSUMERS[0], away=0.2),
    ),
)
_JOIN_SECONDS: Final = 20.0
_REST_SECONDS: Final = 60.0


@dataclass(slots=True)
class _AfterCommit:
    """Publishes once the transaction is committed; what dies in between is not published."""

    pool: asyncpg.Pool
    broker: KafkaBroker

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        async with self.pool.acquire() as connection, connection.transaction():
            tx = Tx(connection=connection, caller=Caller.none())
            yield tx
        for event in tx.outgoing:
            await self.broker.publish(
                event.payload,
                topic=event.topic,
                key=event.key.encode(),
                headers={**event.headers, "ce_id": event.id},
            )


def main(job: Job) -> None:
    """The process of one slot."""
    write_to(job.log)
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_work(job))


async def _work(job: Job) -> None:
    await db.wait_until_up(job.database_url)
    pool = await db.open_pool(job.database_url, schema=job.slot.service, size=6)
    broker = KafkaBroker(job.kafka)
    if job.slot.service == "orchestrator":
        _subscribe(broker, pool)
    await broker.start()
    tasks = [asyncio.create_task(until_told_to_stop())]
    if job.slot.service == "registry":
        tasks.append(asyncio.create_task(_produce(job, broker, pool)))
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _subscribe(broker: KafkaBroker, pool: asyncpg.Pool) -> None:
    @broker.subscriber(TOPIC, group_id=GROUP)
    async def on_dataset_version(
        event: DatasetVersionCreated, event_id: Annotated[str, Header("ce_id")]
    ) -> None:
        await pool.execute("insert into effect (id, key) values ($1, $2)", event_id, event.dataset)


async def _produce(job: Job, broker: KafkaBroker, pool: asyncpg.Pool) -> None:
    producer = Producer(
        bus=_AfterCommit(pool=pool, broker=broker),
        name=f"{job.slot}-{os.getpid()}",
        orders=job.orders,
        journals=job.journals,
        log=configure_logs(service="peer", level="warning"),
    )
    await producer.run()


async def peer_history(servers: Servers, plan: Plan) -> History:
    """What one round leaves once the group has read everything."""
    for service in ("registry", "orchestrator"):
        await prepare(servers.backends.database_url(service), service=service)
    fleet = Fleet(servers=servers, directory=servers.directory, program=main)
    async with servers.proxied():
        fleet.start()
        tending = asyncio.create_task(fleet.tend())
        try:
            return await _round(servers, fleet, plan)
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            await fleet.stop()


async def _round(servers: Servers, fleet: Fleet, plan: Plan) -> History:
    # Its default is to begin at the end of the log: what is sent before it joined is its own loss.
    await _until_joined(servers.backends.kafka)
    injector = Injector(servers=servers, fleet=fleet)
    orders = Orders(name=f"peer{plan.seed}", seed=plan.seed, until=time.time() + plan.seconds)
    async with log.reader(servers.backends.kafka) as client:
        begin = await log.ends(client)
    orders.write(fleet.orders)
    await injector.carry_out(plan, begin)
    await asyncio.sleep(max(0.0, orders.until - time.time()))
    await injector.heal()
    await _until_read(servers, fleet, orders)
    return await _collect(servers, fleet, orders, begin)


async def _collect(servers: Servers, fleet: Fleet, orders: Orders, begin: log.Marks) -> History:
    async with (
        findings.connected(servers.backends.admin_url()) as connection,
        log.reader(servers.backends.kafka) as client,
    ):
        found = await findings.find(connection, orders.name)
        records = await log.read(client, begin)
    told = read_journals(fleet.journals / orders.name)
    committed = {row.id for row in found.written}
    return History(
        attempts=[resolved(attempt, committed) for attempt in told.attempts],
        groups=[Group(name=GROUP, effects=found.first)],
        outboxes=[
            Outbox(
                service="registry",
                committed=committed,
                pending=frozenset(),
                published=published(records, TOPIC),
            )
        ],
    )


@dataclass(slots=True)
class _Progress:
    """How the broker sees the group."""

    admin: AIOKafkaAdminClient

    async def joined(self) -> bool:
        """Whether every consumer is a member, and no rebalance is under way."""
        with contextlib.suppress(KafkaError):
            (response,) = await self.admin.describe_consumer_groups([GROUP])
            group = response.to_object()["groups"][0]
            return group["state"] == "Stable" and len(group["members"]) == len(CONSUMERS)
        return False

    async def read(self, ends: log.Marks) -> bool:
        """Whether the committed offsets are at the end of the log."""
        with contextlib.suppress(KafkaError):
            committed = await self.admin.list_consumer_group_offsets(GROUP)
            return all(
                place in committed and committed[place].offset >= end
                for place, end in ends.items()
                if place.topic == TOPIC and end > 0
            )
        return False


@asynccontextmanager
async def _progress(kafka: str) -> AsyncIterator[_Progress]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield _Progress(admin)
    finally:
        await admin.close()


async def _until_joined(kafka: str) -> None:
    async with _progress(kafka) as progress:
        await until(progress.joined, seconds=_JOIN_SECONDS, what="the group")


async def _until_read(servers: Servers, fleet: Fleet, orders: Orders) -> None:
    """Wait until nobody produces and everything was given to the group, as it says itself."""
    journals = fleet.journals / orders.name
    kafka = servers.backends.kafka

    def produced() -> bool:
        return all(finished(journals / f"{name}.jsonl") for name in fleet.producers())

    await until(produced, seconds=_REST_SECONDS, what="the producers")
    async with log.reader(kafka) as client, _progress(kafka) as progress:
        end = await log.ends(client)
        await until(lambda: progress.read(end), seconds=_REST_SECONDS, what="the consumers")
