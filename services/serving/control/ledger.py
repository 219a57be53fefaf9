"""What is noted in our schema of a deployment, and told on the bus in the same transaction."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime

from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from services.serving import store
from services.serving.control.emitting import (
    emit_deployed,
    emit_failed,
    emit_first_answer,
    emit_state,
)
from services.serving.control.traffic.telling import end_traffic
from services.serving.domain import Deployment, State
from services.serving.link.messages import FirstAnswered


class Ledger:
    """One transaction a call; each can be called again when its end was not heard of."""

    def __init__(self, *, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def begin_flip(self, deployment: Deployment, *, load_ms: float) -> None:
        """It is champion from now on, whoever dies."""
        async with self._transaction(deployment) as tx:
            await store.begin_flip(tx.connection, deployment, load_ms=load_ms)

    async def finish_flip(self, deployment: Deployment, *, swap_ms: float) -> Deployment | None:
        """Every worker answers with it; None if that was noted before."""
        async with self._transaction(deployment) as tx:
            done = await store.finish_flip(
                tx.connection, deployment.number, swap_ms=swap_ms, at=self._clock.now()
            )
            if done is None:
                return None
            event = emit_deployed(tx, done)
            await store.note_deployed_event(tx.connection, done.number, event)
            emit_state(tx, replace(done, deployed_event=event))
            if done.previous_version not in {None, done.version}:
                await self._end_traffic(tx, done)
            if done.first_prediction_id is not None:
                emit_first_answer(tx, done, cause=event)
        return done

    async def finish_warm(self, deployment: Deployment, *, load_ms: float) -> bool:
        """It is in memory; False if nobody wants it any more."""
        async with self._transaction(deployment) as tx:
            return await store.finish_warm(tx.connection, deployment, load_ms=load_ms)

    async def note_native(self, deployment: Deployment) -> None:
        """Its conversion turned out not to be fit, and why."""
        async with self._transaction(deployment) as tx:
            await store.note_native(tx.connection, deployment)

    async def warm_ms(self, candidate: Deployment) -> float:
        """What warming it took; 0 if it is not warm yet."""
        async with self._transaction(candidate) as tx:
            return (await store.by_number(tx.connection, candidate.number)).load_ms or 0.0

    async def fail(self, deployment: Deployment, *, reason: str, had_flipped: bool) -> None:
        """It is given up, and what answered before is champion again."""
        async with self._transaction(deployment) as tx:
            if await store.fail(tx.connection, deployment, reason=reason):
                kept = await store.champion_of(
                    tx.connection, project=deployment.order.project, model=deployment.model
                )
                emit_failed(tx, deployment, kept, reason=reason, at=self._clock.now())
                if had_flipped:
                    await self._end_traffic(tx, deployment)

    async def tell_state(self, deployment: Deployment) -> None:
        """Say again what answers, in case the state topic does not know."""
        async with self._transaction(deployment) as tx:
            emit_state(tx, deployment)

    async def note_first_answer(self, number: int, first: FirstAnswered) -> None:
        """A deployment gave its first answer; told once, after its ModelDeployed."""
        at = datetime.fromtimestamp(first.served_at_us / 1_000_000, UTC)
        async with self._bus.transaction() as tx:
            noted = await store.note_first_answer(
                tx.connection, number, prediction_id=first.prediction_id, at=at
            )
            if noted is not None and noted.state is State.DONE:
                emit_first_answer(tx, noted, cause=noted.deployed_event)

    async def _end_traffic(self, tx: Tx, done: Deployment) -> None:
        """A table compares with a champion: another one ends it."""
        await end_traffic(
            tx,
            project=done.order.project,
            model=done.model,
            at=self._clock.now(),
            reason="another one is champion",
        )

    def _transaction(self, deployment: Deployment) -> AbstractAsyncContextManager[Tx]:
        return self._bus.transaction(
            Caller(
                correlation_id=deployment.order.correlation_id,
                causation_id=deployment.order.cause_event,
                traceparent=deployment.order.traceparent,
            )
        )
