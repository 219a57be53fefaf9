"""PostgreSQL behind the bus: offsets, outbox and parked records in the schema of a service."""

from headrace.runtime.bus.postgres.database import Postgres

__all__ = ["Postgres"]
