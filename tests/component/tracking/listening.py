"""What tracking says on Kafka, from the moment a test begins to listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer

from headrace.events import Data, Envelope, RunFinished, RunLogged, decode_data, decode_record
from headrace.events.topics import TRACKING_RUNS
from tests.harness.bus import ends


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One event and its envelope."""

    data: Data
    envelope: Envelope


class Ear:
    """Collects the events of runs; what a relay published twice is heard once, by its id."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client
        self._by_id: dict[str, Heard] = {}

    async def until_finished(self, run_id: str, *, seconds: float = 20) -> list[Heard]:
        """All events of a run up to its RunFinished."""
        async with asyncio.timeout(seconds):
            while True:
                found = [one for one in self._by_id.values() if one.envelope.key == run_id]
                if found and isinstance(found[-1].data, RunFinished):
                    return found
                await self.listen()

    async def until_params(self, run_id: str, count: int, *, seconds: float = 20) -> list[str]:
        """The params that RunLogged of a run tell, as often as they do, until there are `count`."""
        async with asyncio.timeout(seconds):
            while True:
                found = [
                    key
                    for one in self._by_id.values()
                    if one.envelope.key == run_id and isinstance(one.data, RunLogged)
                    for key in one.data.params
                ]
                if len(found) >= count:
                    return found
                await self.listen()

    async def listen(self) -> None:
        """Take in what has been said meanwhile."""
        for records in (await self._client.getmany(timeout_ms=200)).values():
            for record in records:
                envelope, value = decode_record(record.headers, record.key, record.value)
                one = Heard(data=decode_data(envelope.type, value), envelope=envelope)
                self._by_id.setdefault(envelope.id, one)


@asynccontextmanager
async def listening(kafka: str) -> AsyncIterator[Ear]:
    """Hear what tracking says from now on."""
    where = await ends(kafka, [TRACKING_RUNS.name])
    client = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await client.start()
    try:
        client.assign(list(where))
        for place, end in where.items():
            client.seek(place, end)
        yield Ear(client)
    finally:
        await client.stop()
