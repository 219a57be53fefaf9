"""The database's contract on the simulation, in virtual time."""

from __future__ import annotations

from tests.contract.bus.database import DatabaseContract
from tests.harness.simulation.postgres.database import SimulatedDatabase
from tests.harness.simulation.suites import in_virtual_time


@in_virtual_time(lambda world: SimulatedDatabase(world.server, service="orchestrator"))
class TestSimulatedDatabase(DatabaseContract):
    pass
