"""The tables of one service: the bus's own, and two for the handlers of a workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import count

from aiokafka import TopicPartition

from headrace.runtime.bus.ports import Parked, Stored
from tests.harness.simulation.postgres.transactions import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An outbox row."""

    stored: Stored
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectRow:
    """What a handler wrote: `id` of the event, which event caused it, and whose key it has."""

    group: str
    id: str
    key: str


@dataclass(kw_only=True, slots=True)
class Schema:
    """One service's schema; numbers are given out at the insert, whether it commits or not."""

    name: str
    incarnation: str
    offsets: Table[tuple[str, TopicPartition], int] = field(default_factory=Table)
    seen: Table[tuple[str, TopicPartition, bytes], bytes] = field(default_factory=Table)
    parked: Table[tuple[str, TopicPartition, bytes, int], Parked] = field(default_factory=Table)
    inbox: Table[tuple[str, str, str, date], bool] = field(default_factory=Table)
    outbox: Table[int, Waiting] = field(default_factory=Table)
    batches: Table[int, tuple[int, ...]] = field(default_factory=Table)
    last_number: Table[int, int] = field(default_factory=Table)
    effects: Table[int, EffectRow] = field(default_factory=Table)
    aggregates: Table[str, int] = field(default_factory=Table)
    next_seq: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    next_effect: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
