"""The reader's contract on the simulation, in virtual time."""

from __future__ import annotations

from tests.contract.bus.reader import PLACE, ReaderContract
from tests.harness.simulation.kafka.broker import SimulatedBroker
from tests.harness.simulation.kafka.log import Draft
from tests.harness.simulation.suites import in_virtual_time
from tests.harness.simulation.world import World


class SimulatedReaderWorld:
    """`reader.ReaderWorld` of one seed."""

    group = "g"

    def __init__(self, world: World) -> None:
        self._cluster = world.cluster

    def broker(self) -> SimulatedBroker:
        return SimulatedBroker(self._cluster)

    async def append(self, *values: bytes) -> int:
        first = self._cluster.log(PLACE).end
        self._cluster.append(PLACE, [_draft(value) for value in values])
        return first

    async def append_with_gap(self, value: bytes) -> int:
        log = self._cluster.log(PLACE)
        log.append([_draft(value)], milliseconds=0)
        log.append([], milliseconds=0, gap=1)
        return log.end - 2


def _draft(value: bytes) -> Draft:
    return Draft(key=b"k", value=value, headers=[])


@in_virtual_time(SimulatedReaderWorld)
class TestSimulatedReader(ReaderContract):
    pass
