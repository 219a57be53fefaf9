"""The bus: events over Kafka with effects that happen exactly once in PostgreSQL."""

from headrace.client.events import EventProducer as Publisher
from headrace.runtime.bus.admin import add_topics, apply_topics, check_topics
from headrace.runtime.bus.bus import Bus, open_bus
from headrace.runtime.bus.model import (
    Event,
    Gathering,
    Subscription,
    Tombstone,
    Tx,
    Verbatim,
)
from headrace.runtime.bus.tail import Tail
from headrace.runtime.caller import Caller

__all__ = [
    "Bus",
    "Caller",
    "Event",
    "Gathering",
    "Publisher",
    "Subscription",
    "Tail",
    "Tombstone",
    "Tx",
    "Verbatim",
    "add_topics",
    "apply_topics",
    "check_topics",
    "open_bus",
]
