"""One member of one group: a lane for each partition that it is given.

FastStream declares the subscriber and starts and stops its client. The rebalance listener ends
lanes and never sets a position: delivery does not wait for it, and the client library ignores
what it raises. What a lane does after it lost its partition is fenced by the offset's
compare-and-set.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Final

from aiokafka import ConsumerRebalanceListener, TopicPartition

from headrace.events.topics import GROUPS
from headrace.runtime.bus.effects import Effects
from headrace.runtime.bus.gate import Gate
from headrace.runtime.bus.lane import Lane, Surroundings
from headrace.runtime.bus.model import Subscription
from headrace.runtime.bus.parking import Parking
from headrace.runtime.bus.ports import BACKEND_TROUBLE, Broker, Database
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import Tracer

_LOOK_SECONDS: Final = 0.2
_REVOKE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 10.0
_TRANSACTIONS: Final = 4
_SILENT_SECONDS: Final = 20.0


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Runs one subscription until it is stopped or cancelled."""

    def __init__(
        self,
        *,
        subscription: Subscription,
        broker: Broker,
        database: Database,
        instance: int,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        tracer: Tracer,
        log: Log,
        emitted: Callable[[], None],
    ) -> None:
        self.group = subscription.group
        self._topics = topics = subscription.topics or GROUPS[subscription.group]
        effects = Effects(
            subscription=subscription,
            topics=topics,
            database=database,
            clock=clock,
            metrics=metrics,
            log=log,
        )
        self.gate = Gate()
        self.parking = Parking(
            effects=effects,
            database=database,
            random=random,
            metrics=metrics,
            log=log,
            emitted=emitted,
        )
        self._around = Surroundings(
            effects=effects,
            database=database,
            gate=self.gate,
            slots=asyncio.Semaphore(_TRANSACTIONS),
            random=random,
            metrics=metrics,
            tracer=tracer,
            log=log.bind(group=subscription.group),
            emitted=emitted,
        )
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        self._finished = asyncio.Event()
        self._between_since: float | None = None
        self._polled_at = 0.0
        self._looked_at: float | None = None
        self._membership = broker.join(
            group=subscription.group, topics=topics, instance=instance, listener=self
        )

    @property
    def lanes(self) -> list[Lane]:
        """One for each partition at present."""
        return list(self._lanes)

    @property
    def last_poll(self) -> float | None:
        """When the slowest partition was last asked for records, in loop time; None before.

        Without partitions, when that was last known to be right: not while a rebalance goes on.
        """
        between = self._between_since
        idle = self._looked_at if between is None else between
        return min((lane.last_poll for lane in self._lanes), default=idle)

    @property
    def failing(self) -> Lane | None:
        """The lane whose batch has been failing longest, if any."""
        failing = [lane for lane in self._lanes if lane.failing_since is not None]
        return min(failing, key=lambda lane: lane.failing_since or 0.0, default=None)

    @property
    def out_of_log(self) -> str | None:
        """The alarm of a partition whose stored offset is not in the log."""
        return next((lane.out_of_log for lane in self._lanes if lane.out_of_log), None)

    async def on_partitions_revoked(self, revoked: object) -> None:
        """Finish or roll back at once: the group waits for this."""
        _ = revoked
        self._between_since = asyncio.get_running_loop().time()
        await self._end_lanes(_REVOKE_SECONDS)

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Have lanes made."""
        _ = assigned
        self._between_since = None
        self._changed.set()

    async def run(self) -> None:
        """Keep lanes for what is assigned."""
        parking = asyncio.create_task(self.parking.run(), name=f"{self.group} parking")
        try:
            while not self._stopping:
                with contextlib.suppress(*BACKEND_TROUBLE):
                    await self._look()
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)
            await self._finished.wait()
        finally:
            parking.cancel()
            await self._end_lanes(0)
            await asyncio.gather(parking, return_exceptions=True)

    async def stop(self) -> None:
        """Finish what is in hand, tell Kafka how far this member is, and let `run` return."""
        self._stopping = True
        self.gate.open()
        lanes = self.lanes
        await self._end_lanes(_STOP_SECONDS)
        with contextlib.suppress(*BACKEND_TROUBLE):
            async with asyncio.timeout(1):
                await self._publish_offsets(lanes)
        self._finished.set()
        self._changed.set()

    async def publish_offsets(self) -> None:
        """Tell Kafka how far this group is, for lag tools only."""
        await self._publish_offsets(self.lanes)

    async def _publish_offsets(self, lanes: Sequence[Lane]) -> None:
        held = {lane.place: lane.standing.held for lane in lanes if lane.standing is not None}
        if held:
            await self._membership.reader.commit(held)

    async def _look(self) -> None:
        reader = self._membership.reader
        assigned = sorted(reader.assignment())
        self._drop_dead_lanes()
        await self._end_lanes(0, keep=assigned)
        running = {lane.place for lane in self._lanes}
        settled = self._between_since is None and not self._stopping
        for place in assigned:
            if settled and place not in running:
                lane = Lane(place=place, reader=reader, around=self._around)
                name = f"{self.group} {place.topic} {place.partition}"
                self._lanes[lane] = asyncio.create_task(lane.run(), name=name)
        self._looked_at = asyncio.get_running_loop().time()
        self._measure(self._looked_at)
        await self._stay_a_member(self._looked_at)

    def _drop_dead_lanes(self) -> None:
        """A lane that ended by what nobody foresaw is begun again."""
        for lane, task in list(self._lanes.items()):
            if task.done() and not lane.stopping:
                error = None if task.cancelled() else task.exception()
                self._around.log.error("lane_died", topic=lane.place.topic, reason=repr(error))
                del self._lanes[lane]

    def _measure(self, now: float) -> None:
        metrics, since_epoch = self._around.metrics, self._around.effects.clock.now().timestamp()
        for topic in self._topics:
            lanes = [lane for lane in self._lanes if lane.place.topic == topic.name]
            behind = max((lane.seconds_behind(since_epoch) for lane in lanes), default=0.0)
            metrics.lag.labels(self.group, topic.name).set(sum(lane.behind for lane in lanes))
            metrics.lag_seconds.labels(self.group, topic.name).set(behind)
        metrics.paused.labels(self.group).set(sum(lane.paused for lane in self._lanes))
        metrics.last_poll_age.labels(self.group).set(now - (self.last_poll or now))

    async def _stay_a_member(self, now: float) -> None:
        """A member that asks for nothing is thrown out and not let in again: so ask sometimes.

        What comes is dropped: a lane sets its position anew where it finds another.
        """
        if any(lane.fetching for lane in self._lanes):
            self._polled_at = now
        elif now - self._polled_at > _SILENT_SECONDS:
            self._polled_at = now
            with contextlib.suppress(*BACKEND_TROUBLE, UnicodeDecodeError):
                async with asyncio.timeout(1):
                    await self._membership.reader.getmany(timeout_ms=0, max_records=1)

    async def _end_lanes(self, seconds: float, *, keep: Collection[TopicPartition] = ()) -> None:
        """Let each lane finish its transaction for so long, then roll it back."""
        ending = {lane: task for lane, task in self._lanes.items() if lane.place not in keep}
        for lane in ending:
            lane.stop()
        if seconds and ending:
            await asyncio.wait(ending.values(), timeout=seconds)
        for task in ending.values():
            task.cancel()
        await asyncio.gather(*ending.values(), return_exceptions=True)
        for lane in ending:
            self._lanes.pop(lane, None)
