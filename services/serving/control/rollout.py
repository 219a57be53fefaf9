"""Carries out one deployment: fetch, prove, warm, flip; then says so on the bus.

A flip is two transactions. The first makes the version champion in our schema, then the workers
flip, then the second notes that they did and emits ModelDeployed. A process that dies between
them restores the new champion and finishes the second; a worker never goes back to the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime

from headrace.errors import Permanent, Refused
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving import store
from services.serving.control.artifacts import ArtifactCache
from services.serving.control.emitting import (
    emit_deployed,
    emit_failed,
    emit_first_answer,
    emit_state,
)
from services.serving.control.fleet import Fleet
from services.serving.control.lineup import ModelLineup, Placed
from services.serving.control.meters import DeploymentMeters
from services.serving.control.proof import prove
from services.serving.control.signatures import Signatures
from services.serving.control.traffic.telling import end_traffic
from services.serving.domain import Champion, Deployment, Order, State, deployment_of
from services.serving.domain.formats import serveable
from services.serving.domain.limits import Limits
from services.serving.link.messages import (
    FirstAnswered,
    ModelAssignment,
    Status,
    TrafficAssignment,
)


class Rollout:
    """Knows the line-up of every model; one deployment of a model at a time."""

    def __init__(
        self,
        *,
        bus: Bus,
        cache: ArtifactCache,
        signatures: Signatures,
        limits: Limits,
        fleet: Fleet,
        meters: DeploymentMeters,
        clock: Clock,
        aliases: Callable[[str], dict[str, int]],
        log: Log,
    ) -> None:
        """`aliases` says where those of a model point."""
        self._bus = bus
        self._cache = cache
        self._signatures = signatures
        self._limits = limits
        self._fleet = fleet
        self._meters = meters
        self._clock = clock
        self._aliases = aliases
        self._log = log
        self._proven: set[str] = set()
        self._lineups: dict[str, ModelLineup] = {}
        self.unloaded: set[str] = set()
        """Models that the workers are told to have nothing of."""

    async def restore(self, champion: Champion, candidate: Deployment | None) -> None:
        """Put a model back as it was. Raises Permanent when its champion's files are unusable."""
        placed = await self._place(champion.deployment)
        self._lineups[champion.deployment.model] = ModelLineup(
            champion=placed,
            pinned=await self._place_if_possible(champion.pinned),
            candidate=await self._place_if_possible(candidate),
        )

    async def take_over(self, deployment: Deployment) -> None:
        """Make champion what answered before our schema was lost; the workers that come get it.

        `deploy` finishes it. Raises Permanent when it cannot be served.
        """
        began = time.perf_counter()
        placed = await self._place(deployment)
        await self._prove_once(placed)
        async with self._transaction(deployment) as tx:
            await store.begin_flip(tx.connection, deployment, load_ms=_ms_since(began))
        self._lineups[deployment.model] = self._lineup(deployment.model).promoted(placed)

    async def tell_state(self, deployment: Deployment) -> None:
        """Say again what answers, in case the state topic does not know."""
        async with self._transaction(deployment) as tx:
            emit_state(tx, deployment)

    async def keep_cache_small(self) -> None:
        """Remove cached files that no line-up uses; only while nothing is being deployed."""
        placed = (each for lineup in self._lineups.values() for each in lineup.all_placed)
        await self._cache.keep_only({each.key for each in placed})

    def announce(self) -> int:
        """Tell the workers what to look like; returns the revision."""
        return self._fleet.assign(
            [
                ModelAssignment(name=name, unloaded="unloaded")
                if name in self.unloaded
                else lineup.assignment(name, aliases=self._aliases(name))
                for name, lineup in self._lineups.items()
            ]
        )

    def knows(self, model: str) -> bool:
        """Whether a version was ever to answer for this name."""
        lineup = self._lineups.get(model)
        return lineup is not None and lineup.champion is not None

    async def apply_everywhere(self, model: str) -> str | None:
        """Have the workers look as the line-ups say; why the champion could not be loaded."""
        champion = self._lineup(model).champion
        for status in await self._fleet.settled(self.announce(), at_least=1):
            for seen in status.models:
                if champion is not None and seen.name == model:
                    reason = seen.failures.get(champion.deployment.version)
                    if reason is not None:
                        return f"version {champion.deployment.version} on {status.worker}: {reason}"
        return None

    def forget_candidate(self, model: str, version: int) -> None:
        """Take a candidate out of memory, if it is this one."""
        lineup = self._lineup(model)
        if lineup.candidate is not None and lineup.candidate.deployment.version == version:
            self._arrange(model, lineup.with_candidate(None))

    async def warm(self, deployment: Deployment) -> None:
        """Have a candidate proven and in memory. Raises Permanent when it cannot be."""
        began = time.perf_counter()
        await self._prepare(deployment, at_least=0)
        async with self._transaction(deployment) as tx:
            wanted = await store.finish_warm(
                tx.connection, deployment.number, load_ms=_ms_since(began)
            )
        if wanted:
            self._log.info("candidate_warm", **_names(deployment), load_ms=_ms_since(began))
        else:
            self.forget_candidate(deployment.model, deployment.version)

    async def deploy(self, deployment: Deployment) -> None:
        """Make a version answer, on every worker. Raises Permanent when it cannot."""
        began = time.perf_counter()
        if deployment.state is State.OPEN:
            warm_ms = await self._warm_ms(deployment)
            placed = await self._prepare(deployment, at_least=1)
            load_ms = _ms_since(began) + warm_ms
            async with self._transaction(deployment) as tx:
                await store.begin_flip(tx.connection, deployment, load_ms=load_ms)
        else:
            placed = await self._place(deployment)
        lineup = self._lineup(deployment.model)
        if lineup.champion is None or lineup.champion.deployment.number != deployment.number:
            self._lineups[deployment.model] = lineup.promoted(placed)
        swap_began = time.perf_counter()
        _check(await self._fleet.settled(self.announce(), at_least=1), deployment)
        await self._confirm(deployment, swap_ms=_ms_since(swap_began))

    @property
    def models(self) -> list[str]:
        """Models with a line-up."""
        return list(self._lineups)

    def champion_version(self, model: str) -> int | None:
        """The version that answers by default."""
        champion = self._lineup(model).champion
        return champion.deployment.version if champion else None

    async def route(
        self, model: str, traffic: TrafficAssignment | None, orders: Sequence[Order]
    ) -> None:
        """Have every worker route by a table. Raises Permanent when its versions cannot be served.

        Then the table before stays in force.
        """
        before = self._lineup(model)
        routed = await self._place_all(before, orders)
        self._lineups[model] = before.with_traffic(traffic, routed)
        try:
            statuses = await self._fleet.settled(self.announce(), at_least=1)
            for placed in routed:
                _check(statuses, placed.deployment)
        except Permanent:
            self._arrange(model, before)
            raise

    async def restore_route(
        self, model: str, traffic: TrafficAssignment | None, orders: Sequence[Order]
    ) -> None:
        """Put a table back; the workers that come get it."""
        lineup = self._lineup(model)
        routed = await self._place_all(lineup, orders)
        self._lineups[model] = lineup.with_traffic(traffic, routed)

    async def _place_all(self, lineup: ModelLineup, orders: Sequence[Order]) -> tuple[Placed, ...]:
        placed = []
        for order in orders:
            wanted = deployment_of(order, at=self._clock.now())
            known = lineup.find(Placed.key_of(wanted))
            made = (
                Placed(deployment=wanted, path=known.path) if known else await self._place(wanted)
            )
            await self._prove_once(made)
            placed.append(made)
        return tuple(placed)

    async def give_up(self, deployment: Deployment, reason: str) -> None:
        """Note and tell that it failed; what answered before goes on answering."""
        async with self._transaction(deployment) as tx:
            if await store.fail(tx.connection, deployment, reason=reason):
                kept = await store.champion_of(
                    tx.connection, project=deployment.order.project, model=deployment.model
                )
                emit_failed(tx, deployment, kept, reason=reason, at=self._clock.now())
                if self._has_flipped(deployment):
                    await self._end_traffic(tx, deployment)
        self._meters.failed(deployment.order.kind)
        self._log.error("deployment_failed", **_names(deployment), reason=reason)
        self._arrange(deployment.model, self._lineup(deployment.model).without(deployment.number))

    async def note_first_answer(self, number: int, first: FirstAnswered) -> None:
        """A deployment gave its first answer; told once, after its ModelDeployed."""
        at = datetime.fromtimestamp(first.served_at_us / 1_000_000, UTC)
        async with self._bus.transaction() as tx:
            noted = await store.note_first_answer(
                tx.connection, number, prediction_id=first.prediction_id, at=at
            )
            if noted is not None and noted.state is State.DONE:
                emit_first_answer(tx, noted, cause=noted.deployed_event)

    async def _prepare(self, deployment: Deployment, *, at_least: int) -> Placed:
        """The model file verified, proven, and loaded by the workers that are here."""
        lineup = self._lineup(deployment.model)
        known = lineup.find(Placed.key_of(deployment))
        if known is not None:
            return Placed(deployment=deployment, path=known.path)
        placed = await self._place(deployment)
        await self._prove_once(placed)
        self._lineups[deployment.model] = lineup.with_candidate(placed)
        _check(await self._fleet.settled(self.announce(), at_least=at_least), deployment)
        return placed

    async def _prove_once(self, placed: Placed) -> None:
        if placed.key not in self._proven:
            await prove(placed.path, placed.format, self._limits)
            self._proven.add(placed.key)

    async def _place(self, deployment: Deployment) -> Placed:
        """On this disk, as it was registered and signed; nothing is opened before."""
        path = await self._cache.fetch(deployment.order.files)
        signed_by = await self._signatures.check(serveable(deployment.order.files), path)
        if signed_by is not None:
            self._log.info("signature_verified", **_names(deployment), signed_by=signed_by)
        return Placed(deployment=deployment, path=path)

    async def _place_if_possible(self, deployment: Deployment | None) -> Placed | None:
        if deployment is None:
            return None
        try:
            return await self._place(deployment)
        except Permanent as error:
            self._log.warning("version_not_kept", **_names(deployment), reason=str(error))
            return None

    async def _warm_ms(self, deployment: Deployment) -> float:
        """What warming this version beforehand took; 0 if it was not."""
        candidate = self._lineup(deployment.model).candidate
        if candidate is None or candidate.deployment.version != deployment.version:
            return 0.0
        async with self._transaction(deployment) as tx:
            warmed = await store.by_number(tx.connection, candidate.deployment.number)
        return warmed.load_ms or 0.0

    async def _confirm(self, deployment: Deployment, *, swap_ms: float) -> None:
        async with self._transaction(deployment) as tx:
            done = await store.finish_flip(
                tx.connection, deployment.number, swap_ms=swap_ms, at=self._clock.now()
            )
            if done is None:
                return
            event = emit_deployed(tx, done)
            await store.note_deployed_event(tx.connection, done.number, event)
            emit_state(tx, replace(done, deployed_event=event))
            if done.previous_version not in {None, done.version}:
                await self._end_traffic(tx, done)
            if done.first_prediction_id is not None:
                emit_first_answer(tx, done, cause=event)
        self._meters.deployed(done)
        self._log.info(
            "deployed",
            **_names(done),
            load_ms=done.load_ms,
            swap_ms=swap_ms,
            correlation_id=done.order.correlation_id,
        )

    def _has_flipped(self, deployment: Deployment) -> bool:
        champion = self._lineup(deployment.model).champion
        return champion is not None and champion.deployment.number == deployment.number

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

    def _lineup(self, model: str) -> ModelLineup:
        return self._lineups.get(model, ModelLineup())

    def _arrange(self, model: str, lineup: ModelLineup) -> None:
        self._lineups[model] = lineup
        self.announce()


def _check(statuses: Sequence[Status], deployment: Deployment) -> None:
    """Raise Refused if a worker could not load the version."""
    for status in statuses:
        for model in status.models:
            reason = model.failures.get(deployment.version)
            if model.name == deployment.model and reason:
                raise Refused(f"worker {status.worker}: {reason}")


def _names(deployment: Deployment) -> dict[str, object]:
    return {
        "model": deployment.model,
        "version": deployment.version,
        "deployment": deployment.number,
    }


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
