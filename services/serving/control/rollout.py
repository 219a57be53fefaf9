"""Carries out one deployment: fetch, prove, warm, flip; then says so on the bus.

A flip is two transactions. The first makes the version champion in our schema, then the workers
flip, then the second notes that they did and emits ModelDeployed. A process that dies between
them restores the new champion and finishes the second; a worker never goes back to the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from headrace.errors import Permanent, Refused
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.serving.control.fleet import Fleet
from services.serving.control.ledger import Ledger
from services.serving.control.lineup import ModelLineup, Placed
from services.serving.control.meters import DeploymentMeters
from services.serving.control.placement import Placement, names
from services.serving.domain import Champion, Deployment, Order, State, deployment_of
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
        ledger: Ledger,
        placement: Placement,
        fleet: Fleet,
        meters: DeploymentMeters,
        clock: Clock,
        aliases: Callable[[str], dict[str, int]],
        log: Log,
    ) -> None:
        """`aliases` says where those of a model point."""
        self._ledger = ledger
        self._placement = placement
        self._fleet = fleet
        self._meters = meters
        self._clock = clock
        self._aliases = aliases
        self._log = log
        self._lineups: dict[str, ModelLineup] = {}
        self.unloaded: set[str] = set()
        """Models that the workers are told to have nothing of."""

    async def restore(self, champion: Champion, candidate: Deployment | None) -> None:
        """Put a model back as it was. Raises Permanent when its champion's files are unusable."""
        placed = await self._placement.place(champion.deployment)
        self._lineups[champion.deployment.model] = ModelLineup(
            champion=placed,
            pinned=await self._placement.place_if_possible(champion.pinned),
            candidate=await self._placement.place_if_possible(candidate),
        )

    async def take_over(self, deployment: Deployment) -> None:
        """Make champion what answered before our schema was lost; the workers that come get it.

        `deploy` finishes it. Raises Permanent when it cannot be served.
        """
        began = time.perf_counter()
        placed = await self._placement.place_proven(deployment)
        await self._ledger.begin_flip(placed.deployment, load_ms=_ms_since(began))
        self._lineups[deployment.model] = self._lineup(deployment.model).promoted(placed)

    async def tell_state(self, deployment: Deployment) -> None:
        """Say again what answers, in case the state topic does not know."""
        await self._ledger.tell_state(deployment)

    async def keep_cache_small(self) -> None:
        """Keep few files on the disk that no line-up uses."""
        placed = (each for lineup in self._lineups.values() for each in lineup.all_placed)
        await self._placement.tidy({each.key for each in placed})

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
        placed = await self._prepare(deployment, at_least=0)
        if await self._ledger.finish_warm(placed.deployment, load_ms=_ms_since(began)):
            self._log.info("candidate_warm", **names(deployment), load_ms=_ms_since(began))
        else:
            self.forget_candidate(deployment.model, deployment.version)

    async def deploy(self, deployment: Deployment) -> None:
        """Make a version answer, on every worker. Raises Permanent when it cannot."""
        began = time.perf_counter()
        if deployment.state is State.OPEN:
            warm_ms = await self._warm_ms(deployment)
            placed = await self._prepare(deployment, at_least=1)
            await self._ledger.begin_flip(placed.deployment, load_ms=_ms_since(began) + warm_ms)
        else:
            placed = await self._placement.place(deployment)
            await self._ledger.note_native(placed.deployment)
        swap_began = time.perf_counter()
        await self._flip(placed)
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
        routed = await self._placement.place_all(before, self._deployments(orders))
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
        routed = await self._placement.place_all(lineup, self._deployments(orders))
        self._lineups[model] = lineup.with_traffic(traffic, routed)

    async def give_up(self, deployment: Deployment, reason: str) -> None:
        """Note and tell that it failed; what answered before goes on answering."""
        await self._ledger.fail(
            deployment, reason=reason, had_flipped=self._has_flipped(deployment)
        )
        self._meters.failed(deployment.order.kind)
        self._log.error("deployment_failed", **names(deployment), reason=reason)
        self._arrange(deployment.model, self._lineup(deployment.model).without(deployment.number))

    async def note_first_answer(self, number: int, first: FirstAnswered) -> None:
        """A deployment gave its first answer; told once, after its ModelDeployed."""
        await self._ledger.note_first_answer(number, first)

    async def _prepare(self, deployment: Deployment, *, at_least: int) -> Placed:
        """The model file verified, proven, and loaded by the workers that are here."""
        lineup = self._lineup(deployment.model)
        known = lineup.find(deployment)
        if known is not None:
            return known.serving(deployment)
        placed = await self._placement.place_proven(deployment)
        return await self._load(placed, lineup.with_candidate, at_least=at_least)

    async def _flip(self, placed: Placed) -> None:
        """Have the workers answer with it."""
        lineup = self._lineup(placed.deployment.model)
        await self._load(placed, lineup.promoted, at_least=1)

    async def _load(
        self, placed: Placed, arranged: Callable[[Placed], ModelLineup], *, at_least: int
    ) -> Placed:
        """Loaded by the workers; the model itself if one of them does not take its conversion."""
        try:
            await self._load_once(placed, arranged(placed), at_least=at_least)
        except Refused as error:
            if not placed.is_conversion:
                raise
            placed = await self._placement.place_natively(placed.deployment, reason=str(error))
            await self._ledger.note_native(placed.deployment)
            await self._load_once(placed, arranged(placed), at_least=at_least)
        return placed

    async def _load_once(self, placed: Placed, lineup: ModelLineup, *, at_least: int) -> None:
        self._lineups[placed.deployment.model] = lineup
        _check(await self._fleet.settled(self.announce(), at_least=at_least), placed.deployment)

    async def _warm_ms(self, deployment: Deployment) -> float:
        """What warming this version beforehand took; 0 if it was not."""
        candidate = self._lineup(deployment.model).candidate
        if candidate is None or candidate.deployment.version != deployment.version:
            return 0.0
        return await self._ledger.warm_ms(candidate.deployment)

    async def _confirm(self, deployment: Deployment, *, swap_ms: float) -> None:
        done = await self._ledger.finish_flip(deployment, swap_ms=swap_ms)
        if done is None:
            return
        self._meters.deployed(done)
        self._log.info(
            "deployed",
            **names(done),
            load_ms=done.load_ms,
            swap_ms=swap_ms,
            correlation_id=done.order.correlation_id,
        )

    def _has_flipped(self, deployment: Deployment) -> bool:
        champion = self._lineup(deployment.model).champion
        return champion is not None and champion.deployment.number == deployment.number

    def _deployments(self, orders: Sequence[Order]) -> list[Deployment]:
        return [deployment_of(order, at=self._clock.now()) for order in orders]

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


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
