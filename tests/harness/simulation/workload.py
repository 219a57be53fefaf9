"""Services with handlers, and clients that make them emit events.

    clients -> registry -> DatasetVersionCreated -> orchestrator.events
    a foreign producer -> PipelineRunRequested   -> orchestrator.events
    orchestrator.events, clients -> orchestrator -> PipelineRunChanged -> registry.events
    a foreign producer -> LabelObserved          -> monitoring.telemetry

Each event carries the id of the attempt that it goes back to as its correlation id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from headrace.errors import Permanent
from headrace.events import (
    DatasetVersionCreated,
    LabelObserved,
    PipelineRunChanged,
    PipelineRunRequested,
)
from headrace.events.contracts import Data
from headrace.events.topics import (
    MONITORING_LABELS,
    ORCHESTRATOR_COMMANDS,
    ORCHESTRATOR_RUNS,
    REGISTRY_DATASETS,
    Topic,
    all_topics,
)
from headrace.runtime.bus import Event, Subscription, Tx
from headrace.runtime.bus.model import BatchHandler, Handler, Patience
from tests.harness.simulation.fates import Fates
from tests.harness.simulation.postgres.connection import SimulatedConnection

if TYPE_CHECKING:
    from tests.harness.simulation.world import World

FIRST: Final = "orchestrator.events"
SECOND: Final = "registry.events"
TELEMETRY: Final = "monitoring.telemetry"

_CARRYING: Final = (
    REGISTRY_DATASETS,
    ORCHESTRATOR_COMMANDS,
    ORCHESTRATOR_RUNS,
    MONITORING_LABELS,
)
TOPICS: Final[tuple[Topic, ...]] = tuple(
    replace(topic, partitions=min(topic.partitions, 2))
    for topic in all_topics()
    if topic in _CARRYING or topic.kind == "dead_letter"
)
"""Only what carries something: each empty partition costs a run as much as a full one."""

_DIGEST: Final = "sha256:" + "0" * 64
_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PATIENCE: Final = Patience(
    attempts=3, longest_pause=0.5, parked_attempts=5, longest_parked_pause=1.0
)


def version_created(key: str, position: int) -> DatasetVersionCreated:
    return DatasetVersionCreated(
        dataset=key, version=position, digest=_DIGEST, rows=1, segments=1, origin="upload"
    )


def run_changed(key: str) -> PipelineRunChanged:
    return PipelineRunChanged(
        pipeline_run_id=key, pipeline="p", state="running", changed_at=_MOMENT
    )


def run_requested(key: str) -> PipelineRunRequested:
    return PipelineRunRequested(pipeline_run_id=key, pipeline="p", requested_by="someone")


def label_observed(key: str) -> LabelObserved:
    return LabelObserved(model=key, prediction_id="p", label=1.0, observed_at=_MOMENT)


def connection_of(tx: Tx) -> SimulatedConnection:
    """What stands behind a transaction's connection here."""
    return cast("SimulatedConnection", tx.connection)


class Handlers:
    """The handlers of both groups; what they do is drawn from the seed."""

    def __init__(self, world: World, fates: Fates) -> None:
        self._world = world
        self._fates = fates
        self._random: random.Random = world.stream("handlers")

    def of(self, service: str) -> list[Subscription]:
        """What a service subscribes to."""
        handlers: Mapping[str, Mapping[type[Data], Handler]] = {
            FIRST: {
                DatasetVersionCreated: self._on_version,
                PipelineRunRequested: self._on_request,
            },
            SECOND: {},
            TELEMETRY: {LabelObserved: self._on_label},
        }
        batches: Mapping[str, Mapping[type[Data], BatchHandler]] = {
            SECOND: {PipelineRunChanged: self._on_changes}
        }
        return [
            Subscription(
                group=group,
                handlers=handlers[group],
                batches=batches.get(group, {}),
                patience=_PATIENCE,
                max_records=self._random.choice((1, 3, 2000)),
            )
            for group in handlers
            if group.startswith(f"{service}.")
        ]

    async def _on_version(self, event: Event[DatasetVersionCreated], tx: Tx) -> None:
        await self._forward(event, tx, key=event.data.dataset)

    async def _on_request(self, event: Event[PipelineRunRequested], tx: Tx) -> None:
        await self._forward(event, tx, key=event.data.pipeline_run_id)

    async def _forward(self, event: Event[Any], tx: Tx, *, key: str) -> None:
        early = self._random.random() < 0.5
        if early:
            self._meet(FIRST, event.id, key)
        connection = connection_of(tx)
        if self._random.random() < 0.3:
            await connection.lock_aggregate(f"run {key}")
        await connection.append_effect(group=FIRST, id_=event.id, key=key)
        tx.emit(run_changed(key), correlation_id=event.id)
        if self._random.random() < 0.1:
            await asyncio.sleep(self._random.uniform(0.0, 0.5))
        if not early:
            self._meet(FIRST, event.id, key)

    async def _on_changes(self, events: Sequence[Event[PipelineRunChanged]], tx: Tx) -> None:
        for event in events:
            key = event.data.pipeline_run_id
            try:
                self._meet(SECOND, event.id, key)
            except Permanent as error:
                tx.refuse(event, error)
                continue
            await connection_of(tx).append_effect(group=SECOND, id_=event.correlation_id, key=key)

    async def _on_label(self, event: Event[LabelObserved], tx: Tx) -> None:
        key = event.data.model
        await connection_of(tx).append_effect(group=TELEMETRY, id_=event.id, key=key)
        self._meet(TELEMETRY, event.id, key)

    def _meet(self, group: str, event: str, key: str) -> None:
        self._fates.meet(group=group, event=event, key=key, now=self._world.loop.time())
