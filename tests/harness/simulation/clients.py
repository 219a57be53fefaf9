"""Those who cause events: clients of the services, and producers that the bus does not know.

Every attempt is noted with what its client can know of its outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from headrace.events import Envelope, contract_of, encode_headers
from headrace.events.contracts import Data
from headrace.events.topics import MONITORING_LABELS, ORCHESTRATOR_RUNS, REGISTRY_DATASETS
from headrace.ids import new_id
from headrace.runtime.bus import Bus
from headrace.runtime.bus.ports import BACKEND_TROUBLE
from tests.harness.history import Attempt, Outcome
from tests.harness.simulation.kafka.log import UNREADABLE, Draft
from tests.harness.simulation.process import Killed
from tests.harness.simulation.workload import (
    connection_of,
    run_changed,
    version_created,
)
from tests.harness.simulation.world import Instance, ProcessDied

if TYPE_CHECKING:
    from tests.harness.simulation.world import World

_PATIENCE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.2

_POISONS: Final[Sequence[Draft]] = (
    Draft(key=b"poison", value=b"{", headers=[]),
    Draft(key=b"poison", value=None, headers=[(UNREADABLE, b"1")]),
    Draft(key=b"a\x00b", value=b"{}", headers=[("ce_id", b"\xff\xfe")]),
    Draft(key=None, value=b"", headers=[("ce_specversion", b"1.0"), ("ce_type", b"x")]),
)


class _Undone(Exception):
    """Rolls a transaction back on purpose."""


@dataclass(kw_only=True, slots=True)
class _Try:
    """An attempt while it is made; the position is known once its aggregate is locked."""

    id: str
    key: str
    position: int = 0
    outcome: Outcome = Outcome.UNKNOWN


@dataclass(slots=True)
class Clients:
    """Everyone who causes events in one run."""

    world: World
    instances: Sequence[Instance]
    random: random.Random
    tries: list[_Try] = field(default_factory=list)

    def attempts(self, prefix: str) -> list[Attempt]:
        """What was attempted for keys that begin so."""
        return [
            Attempt(id=one.id, key=one.key, position=one.position, outcome=one.outcome)
            for one in self.tries
            if one.key.startswith(prefix)
        ]

    async def use(self, service: str, *, keys: Sequence[str], requests: int) -> None:
        """A client of a service; each request is one transaction that emits one event."""
        for _ in range(requests):
            await asyncio.sleep(self.random.expovariate(2.0))
            answering = [one for one in self.instances if one.service == service and one.answers]
            if answering:
                await self._request(self.random.choice(answering), self.random.choice(keys))

    async def send_foreign(self, data: Data, *, events: int) -> None:
        """At least once: it repeats what it is not sure of, and some for no reason."""
        key = contract_of(data).key(data)
        place = self._place(contract_of(data).topic.name, key)
        for position in range(1, events + 1):
            await asyncio.sleep(self.random.expovariate(1.5))
            one = _Try(id=new_id(), key=key, position=position)
            self.tries.append(one)
            draft = self._foreign(data, one.id)
            times = 2 if self.random.random() < 0.3 else 1
            await self._append(place, [draft] * times)
            one.outcome = Outcome.ACKNOWLEDGED
            if self.random.random() < 0.2:
                await self._append(place, [draft])

    async def send_poison(self, *, records: int) -> None:
        """Somebody who sends what nobody can read."""
        for _ in range(records):
            await asyncio.sleep(self.random.expovariate(1.0))
            topic = self.random.choice((MONITORING_LABELS, ORCHESTRATOR_RUNS, REGISTRY_DATASETS))
            place = self.random.choice(self.world.cluster.places([topic.name]))
            await self._append(place, [self.random.choice(_POISONS)])

    async def _request(self, instance: Instance, key: str) -> None:
        one = _Try(id=new_id(), key=key)
        self.tries.append(one)
        undone = self.random.random() < 0.15
        work = self._transaction(one, instance.service, undone=undone)
        try:
            await instance.ask(work, seconds=_PATIENCE_SECONDS)
        except _Undone:
            one.outcome = Outcome.ROLLED_BACK
        except (ProcessDied, Killed, *BACKEND_TROUBLE) as error:
            self.world.trace(f"attempt {one.id} of {key}: {error!r}")
        else:
            one.outcome = Outcome.ACKNOWLEDGED

    def _transaction(
        self, one: _Try, service: str, *, undone: bool
    ) -> Callable[[Bus], Coroutine[None, None, None]]:
        async def run(bus: Bus) -> None:
            async with bus.transaction() as tx:
                connection = connection_of(tx)
                one.position = await connection.lock_aggregate(one.key) + 1
                await connection.raise_aggregate(one.key, one.position)
                tx.emit(_event(service, one), correlation_id=one.id, event_id=one.id)
                if undone:
                    raise _Undone

        return run

    def _foreign(self, data: Data, identity: str) -> Draft:
        contract = contract_of(data)
        moment = datetime.fromtimestamp(self.world.networks[0].wall_clock(), UTC)
        envelope = Envelope(
            id=identity,
            source="/foreign",
            type=contract.type,
            time=moment,
            key=contract.key(data),
            correlation_id=identity,
        )
        key = contract.key(data).encode()
        return Draft(key=key, value=contract.encode(data), headers=encode_headers(envelope))

    def _place(self, topic: str, key: str) -> TopicPartition:
        return TopicPartition(topic, self.world.cluster.partition_of(topic, key.encode()))

    async def _append(self, place: TopicPartition, drafts: Sequence[Draft]) -> None:
        """Until it is acknowledged."""
        cluster = self.world.cluster
        while True:
            try:
                await cluster.connect().call(lambda: cluster.append(place, drafts))
            except KafkaError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return


def _event(service: str, one: _Try) -> Data:
    if service == "registry":
        return version_created(one.key, one.position)
    return run_changed(one.key)
