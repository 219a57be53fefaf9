"""What a run left behind, as the history checker wants it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from headrace.events.topics import GROUPS, dead_letter_topic
from tests.harness.history import (
    Attempt,
    Effect,
    Group,
    History,
    OffsetSnapshot,
    Outbox,
    Outcome,
    check,
)
from tests.harness.simulation.clients import Clients
from tests.harness.simulation.postgres.tables import EffectRow, Schema, Waiting
from tests.harness.simulation.workload import FIRST, SECOND, TELEMETRY, TOPICS
from tests.harness.simulation.world import World

SERVICES: Final = ("registry", "orchestrator", "monitoring")


class Evidence:
    """Notes commits from the beginning on, and looks at logs and tables at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._effects: list[EffectRow] = []
        self._offsets: list[OffsetSnapshot] = []
        self._committed: dict[str, list[str]] = {service: [] for service in SERVICES}
        for service in SERVICES:
            self._watch(world.server.schema(service))

    def unrest(self) -> list[str]:
        """What is not finished yet; empty when the bus has come to rest."""
        found = []
        if self._world.cluster.late:
            found.append("late batches")
        for service in SERVICES:
            schema = self._world.server.schema(service)
            if schema.outbox.rows:
                found.append(f"{len(schema.outbox.rows)} outbox rows of {service}")
            if schema.parked.rows:
                found.append(f"{len(schema.parked.rows)} parked records of {service}")
        for group in (FIRST, SECOND, TELEMETRY):
            found.extend(self._unread(group))
        return found

    def violations(self, clients: Clients) -> list[str]:
        """What the checker finds in the history of the whole run."""
        first = [*clients.attempts("d"), *clients.attempts("f"), *self._poisons(FIRST)]
        second = [*clients.attempts("o"), *self._poisons(SECOND)]
        telemetry = [*clients.attempts("t"), *self._poisons(TELEMETRY)]
        histories = (
            self._history(first, groups={FIRST: None, SECOND: FIRST}),
            self._history(second, groups={SECOND: None}),
            self._history(telemetry, groups={TELEMETRY: None}),
        )
        return list(dict.fromkeys(str(one) for history in histories for one in check(history)))

    def _history(self, attempts: list[Attempt], *, groups: dict[str, str | None]) -> History:
        ids = {attempt.id for attempt in attempts}
        return History(
            attempts=attempts,
            groups=[self._group(name, ids, follows) for name, follows in groups.items()],
            outboxes=[self._outbox(service) for service in SERVICES],
            offsets=self._offsets,
        )

    def _group(self, name: str, ids: Collection[str], follows: str | None) -> Group:
        return Group(
            name=name,
            follows=follows,
            effects=[
                Effect(id=row.id, key=row.key)
                for row in self._effects
                if row.group == name and row.id in ids
            ],
            dead_letters=[id_ for id_ in self._dead_letters(name) if id_ in ids],
        )

    def _outbox(self, service: str) -> Outbox:
        waiting = self._world.server.schema(service).outbox.rows.values()
        return Outbox(
            service=service,
            committed=self._committed[service],
            pending=[row.stored.id for row in waiting],
            published=self._published(service),
        )

    def _published(self, service: str) -> Collection[str]:
        source = f"/{service}/".encode()
        found: dict[str, None] = {}
        for topic in TOPICS:
            for record in self._world.cluster.records(topic.name):
                fields = dict(record.headers)
                if fields.get("ce_source", b"").startswith(source):
                    found[fields["ce_id"].decode()] = None
        return found.keys()

    def _dead_letters(self, group: str) -> Iterator[str]:
        """Attempts that were given up, each letter once however often it was sent."""
        letters: dict[bytes, str] = {}
        for topic in GROUPS[group]:
            for record in self._world.cluster.records(dead_letter_topic(group, topic.name)):
                fields = dict(record.headers)
                letters[fields["ce_id"]] = _attempt_of_letter(fields)
        yield from letters.values()

    def _poisons(self, group: str) -> Iterator[Attempt]:
        for topic in GROUPS[group]:
            for record in self._world.cluster.records(topic.name):
                if "ce_correlationid" not in dict(record.headers):
                    yield Attempt(
                        id=f"{record.topic}/{record.partition}/{record.offset}",
                        key="poison",
                        position=record.offset,
                        outcome=Outcome.ACKNOWLEDGED,
                    )

    def _unread(self, group: str) -> Iterator[str]:
        schema = self._world.server.schema(group.partition(".")[0])
        for place in self._world.cluster.places([topic.name for topic in GROUPS[group]]):
            held = schema.offsets.rows.get((group, place), 0)
            left = [one for one in self._records(place) if one.offset >= held]
            if left:
                yield f"{len(left)} records of {place.topic}/{place.partition} for {group}"

    def _records(self, place: TopicPartition) -> Iterator[ConsumerRecord]:
        return self._world.cluster.log(place).records()

    def _watch(self, schema: Schema) -> None:
        def on_effect(_: int, row: EffectRow | None) -> None:
            if row is not None:
                self._effects.append(row)

        def on_outbox(_: int, row: Waiting | None) -> None:
            if row is not None:
                self._committed[schema.name].append(row.stored.id)

        def on_offset(where: tuple[str, TopicPartition], held: int | None) -> None:
            group, place = where
            snapshot = OffsetSnapshot(
                group=group, topic=place.topic, partition=place.partition, offset=held or 0
            )
            self._offsets.append(snapshot)

        schema.effects.watch = on_effect
        schema.outbox.watch = on_outbox
        schema.offsets.watch = on_offset


def _attempt_of_letter(fields: dict[str, bytes]) -> str:
    correlation = fields.get("ce_correlationid")
    if correlation is not None:
        return correlation.decode()
    parts = ("dlt_original_topic", "dlt_original_partition", "dlt_original_offset")
    return "/".join(fields[part].decode() for part in parts)
