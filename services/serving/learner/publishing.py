"""Snapshots become versions of the registry, each once, in the order they were made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import orjson

from headrace.client.platform import Platform
from headrace.errors import Permanent
from headrace.events.topics import MONITORING_LABELS, SERVING_LOG
from headrace.learning import (
    Document,
    Examples,
    Lineage,
    Offsets,
    Parent,
    encode_document,
    encode_examples,
)
from headrace.learning.document import EXAMPLES_FILE, MODEL_FILE, START_FILE
from headrace.learning.estimator import river_version
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Bus
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.domain.learners import Positions, Snapshot
from services.serving.store import snapshots

_PAUSE: Final = 0.5
_TROUBLE_PAUSE: Final = 2.0


class Publishing:
    """Uploads a snapshot's files, registers them, and asks for promotion where that is wanted.

    Every step may be repeated: files have their names, the version has a key by which the registry
    knows it again. So nothing is locked, and a process that dies leaves nothing half done.
    """

    def __init__(
        self, *, project: str, bus: Bus, blobs: Blobs, platform: Platform, clock: Clock, log: Log
    ) -> None:
        self._project = project
        self._bus = bus
        self._blobs = blobs
        self._platform = platform
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Until cancelled; while registry or S3 are away snapshots wait."""
        while True:
            pause = _PAUSE
            try:
                for snapshot in await self._next():
                    await self._publish(snapshot)
                    pause = 0.0
            except Exception as error:
                self._log.warning("snapshots_not_published", reason=repr(error))
                pause = _TROUBLE_PAUSE
            await asyncio.sleep(pause)

    async def _next(self) -> list[Snapshot]:
        async with self._bus.transaction() as tx:
            return await snapshots.next_unpublished(tx.connection, project=self._project)

    async def _publish(self, snapshot: Snapshot) -> None:
        async with self._bus.transaction() as tx:
            learned = await snapshots.examples(tx.connection, snapshot)
            before = await snapshots.version_before(tx.connection, snapshot)
        parent = None if before is None else Parent(version=before[0], digest=before[1])
        files = await asyncio.to_thread(files_of, snapshot, learned, parent)
        for path, data in files.items():
            await self._blobs.put(f"{_folder(snapshot)}/{path}", data)
        version = await asyncio.to_thread(self._register, snapshot, parent)
        promotion = await asyncio.to_thread(self._ask, snapshot, version)
        async with self._bus.transaction() as tx:
            await snapshots.published(
                tx.connection,
                snapshot,
                version=version,
                promotion=promotion,
                now=self._clock.now(),
            )
        self._log.info(
            "snapshot_published",
            learner=snapshot.learner,
            model=snapshot.publish_as,
            version=version,
            learned=snapshot.state.learned,
            promotion=promotion,
        )

    def _register(self, snapshot: Snapshot, parent: Parent | None) -> int:
        self._platform.ensure_model(snapshot.publish_as)
        return self._platform.register_version(
            snapshot.publish_as,
            source=self._blobs.uri(_folder(snapshot)),
            tags=_tags(snapshot, parent),
            idempotency_key=f"learner/{_folder(snapshot)}/{snapshot.state.digest(snapshot.plan)}",
        )

    def _ask(self, snapshot: Snapshot, version: int) -> str | None:
        """What the registry says to a promotion; its policy decides, a no is an answer."""
        if not snapshot.request_promotion:
            return None
        try:
            answer = self._platform.request_promotion(
                snapshot.publish_as,
                version,
                requested_by=f"learner {snapshot.learner}",
                evidence=None,
                comment=f"snapshot {snapshot.number} after {snapshot.state.learned} labels",
            )
        except Permanent as error:
            return f"refused: {error}"
        return answer.outcome


def files_of(snapshot: Snapshot, learned: Examples, parent: Parent | None) -> Mapping[str, bytes]:
    """The files of a version by their paths; equal snapshots have equal bytes."""
    plan = snapshot.plan
    document = Document(
        plan=plan,
        inputs=tuple(snapshot.inputs),
        state=snapshot.state,
        digest=snapshot.state.digest(plan),
        lineage=Lineage(
            learner=snapshot.learner,
            generation=snapshot.generation,
            number=snapshot.number,
            model=snapshot.model,
            label_topic=MONITORING_LABELS.name,
            labels=_spans(snapshot.positions_before, snapshot.positions),
            prediction_topic=(
                SERVING_LOG if snapshot.features_from == "predictions" else MONITORING_LABELS
            ).name,
            predictions=_spans_of(learned),
            learned_before=snapshot.start.learned,
            start_digest=snapshot.start.digest(plan),
            parent=parent,
            river=river_version(),
        ),
    )
    return {
        MODEL_FILE: encode_document(document),
        START_FILE: snapshot.start.encode(),
        EXAMPLES_FILE: encode_examples(learned),
    }


def _spans(before: Positions, after: Positions) -> tuple[Offsets, ...]:
    return tuple(
        Offsets(partition=partition, after=before.get(partition), through=offset)
        for partition, offset in sorted(after.items())
        if before.get(partition) != offset
    )


def _spans_of(learned: Examples) -> tuple[Offsets, ...]:
    spans = []
    for partition in sorted(set(learned.log_partitions.tolist())):
        offsets = learned.log_offsets[learned.log_partitions == partition]
        first, last = int(offsets.min()), int(offsets.max())
        spans.append(Offsets(partition=partition, after=first - 1, through=last))
    return tuple(spans)


def _tags(snapshot: Snapshot, parent: Parent | None) -> dict[str, str]:
    positions = {str(partition): offset for partition, offset in snapshot.positions.items()}
    tags = {
        "headrace.learner": snapshot.learner,
        "headrace.learner_snapshot": f"{snapshot.generation}/{snapshot.number}",
        "headrace.learner_model": snapshot.model,
        "headrace.learner_digest": snapshot.state.digest(snapshot.plan),
        "headrace.learner_learned": str(snapshot.state.learned),
        "headrace.learner_labels": orjson.dumps(
            {MONITORING_LABELS.name: positions}, option=orjson.OPT_SORT_KEYS
        ).decode(),
    }
    if parent is not None:
        tags["headrace.learner_parent"] = str(parent.version)
    return tags


def _folder(snapshot: Snapshot) -> str:
    where = f"{quote(snapshot.project, safe='')}/{quote(snapshot.learner, safe='')}"
    made = snapshot.created_at.strftime("%Y%m%dT%H%M%S%f")
    return f"learners/{where}/{made}-{snapshot.generation}-{snapshot.number}"
