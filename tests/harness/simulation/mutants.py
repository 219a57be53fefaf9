"""Buses with one promise broken on purpose: a simulation that does not catch them proves nothing.

Each is a patch of the bus, or of what stands behind its ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from aiokafka import TopicPartition

from headrace.client.records import Record
from headrace.runtime.bus.pipeline import Pipeline
from headrace.runtime.bus.ports import Identity, RelayBatch, Standing
from headrace.runtime.bus.reading import Taken
from headrace.runtime.bus.work import Work
from tests.harness.simulation.postgres.connection import SimulatedConnection
from tests.harness.simulation.postgres.database import SimulatedDatabase, SimulatedRelaySession
from tests.harness.simulation.postgres.ledger import SimulatedLedger
from tests.harness.simulation.postgres.transactions import Transaction

_advance = SimulatedLedger.advance
_standing = SimulatedDatabase.standing
_unfinished = SimulatedRelaySession.unfinished


async def _advance_outside(
    ledger: SimulatedLedger,
    group: str,
    place: TopicPartition,
    *,
    standing: Standing,
    after: Standing,
) -> int | None:
    """The offset is stored before the effects, in a transaction of its own."""
    parked = await _advance(ledger, group, place, standing=standing, after=after)
    connection = ledger._connection
    await connection.commit()
    await connection._call(connection._session.begin)
    return parked


async def _advance_anyway(
    ledger: SimulatedLedger,
    group: str,
    place: TopicPartition,
    *,
    standing: Standing,
    after: Standing,
) -> int | None:
    """The offset is set whatever it was: no owner is ever fenced."""
    found = ledger._schema.offsets.rows.get((group, place), standing.held)
    held = replace(standing, held=found)
    return await _advance(ledger, group, place, standing=held, after=after)


async def _standing_without_numbers(
    database: SimulatedDatabase, group: str, place: TopicPartition
) -> Standing | None:
    """What the relays' numbers were is forgotten with the process."""
    standing = await _standing(database, group, place)
    return None if standing is None else Standing(held=standing.held)


async def _claim_all(
    ledger: SimulatedLedger, group: str, identities: Sequence[Identity]
) -> Collection[Identity]:
    """Every foreign event is new."""
    _ = ledger, group
    return identities


async def _hold_nothing(ledger: SimulatedLedger, group: str, place: TopicPartition) -> None:
    """Parked records are tried without the partition's lock."""
    _ = ledger, group, place


async def _unfinished_forgotten(session: SimulatedRelaySession) -> Sequence[RelayBatch]:
    """A new leader numbers the rows of an unfinished batch anew."""

    def forget(tx: Transaction) -> None:
        for first, _ in list(tx.scan(session._schema.batches)):
            tx.put(session._schema.batches, first, None)

    await session._connection.run(forget)
    return await _unfinished(session)


async def _always_lead(session: SimulatedRelaySession) -> bool:
    """Every process publishes."""
    _ = session
    return True


async def _send_at_once(
    pipeline: Pipeline,
    before: asyncio.Task[None] | None,
    place: tuple[str, int],
    records: Sequence[Record],
) -> None:
    """A batch does not wait for the one before it."""
    _ = before
    await pipeline._sender.send_to(*place, records)


async def _acknowledged_at_once(parts: Sequence[asyncio.Task[None]]) -> None:
    """A batch counts as published when it was begun."""
    _ = parts


def _overtake(work: Work, run: Sequence[Taken]) -> list[Taken]:
    """What belongs behind a parked record is handled before it."""
    _ = work
    return list(run)


@asynccontextmanager
async def _no_savepoint(connection: SimulatedConnection) -> Any:
    """What a failed handler wrote stays."""
    await connection.run(lambda _: None)
    yield


MUTANTS: Final[Mapping[str, tuple[Any, str, object]]] = {
    "the offset is committed before the effects": (SimulatedLedger, "advance", _advance_outside),
    "nobody is fenced": (SimulatedLedger, "advance", _advance_anyway),
    "the relays' numbers are forgotten": (
        SimulatedDatabase,
        "standing",
        _standing_without_numbers,
    ),
    "foreign twins are not told apart": (SimulatedLedger, "claim", _claim_all),
    "parked records are tried without a lock": (SimulatedLedger, "hold", _hold_nothing),
    "a new leader numbers anew": (SimulatedRelaySession, "unfinished", _unfinished_forgotten),
    "every process leads": (SimulatedRelaySession, "lead", _always_lead),
    "batches overtake one another": (Pipeline, "_send", _send_at_once),
    "rows are forgotten before they are durable": (
        "headrace.runtime.bus.pipeline",
        "_all",
        _acknowledged_at_once,
    ),
    "events overtake parked ones of their key": (Work, "_behind_their_key", _overtake),
    "savepoints undo nothing": (SimulatedConnection, "savepoint", _no_savepoint),
}


def mutant(name: str | None) -> AbstractContextManager[object]:
    """The bus with that promise broken, while the context lasts; None for the bus as it is."""
    if name is None:
        return nullcontext()
    target, attribute, mutation = MUTANTS[name]
    if isinstance(target, str):
        return patch(f"{target}.{attribute}", mutation)
    return patch.object(target, attribute, mutation)
