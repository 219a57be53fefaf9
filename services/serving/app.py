"""The composition root of the control process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TypeVar

import numpy as np

from headrace.events import (
    LabelObserved,
    ModelPromoted,
    ModelVersionConverted,
    ModelVersionCreated,
    PromotionDecided,
    PromotionRequested,
    RewardObserved,
)
from headrace.events.topics import VIEWS
from headrace.runtime.bus import Subscription, Tail
from headrace.runtime.service import Resources, Service
from services.serving import api
from services.serving.api import bandits as bandits_api
from services.serving.api import experiments as experiments_api
from services.serving.api import learners as learners_api
from services.serving.api import rollouts as rollouts_api
from services.serving.api import traffic as traffic_api
from services.serving.asynchronous.groups import foreign_groups
from services.serving.control.artifacts import ArtifactCache
from services.serving.control.converter import Converter
from services.serving.control.explicit import ExplicitModels
from services.serving.control.fleet import Fleet
from services.serving.control.ledger import Ledger
from services.serving.control.log_intake import LogIntake
from services.serving.control.log_rules import LogRuleBook
from services.serving.control.meters import DeploymentMeters
from services.serving.control.placement import Placement
from services.serving.control.promoted import PromotedModels
from services.serving.control.reconciler import Reconciler
from services.serving.control.rollout import Rollout
from services.serving.control.signatures import Signatures
from services.serving.control.traffic.bandits import BanditDriver
from services.serving.control.traffic.director import TrafficDirector
from services.serving.control.traffic.drives import drives
from services.serving.control.traffic.experiments import Experimenter
from services.serving.control.traffic.outcomes import Outcomes
from services.serving.control.traffic.rollouts import RolloutDriver
from services.serving.control.traffic.states import TrafficStates
from services.serving.domain.trust import SignaturePolicy
from services.serving.handlers import Handlers
from services.serving.settings import Settings

_T = TypeVar("_T")


def build(settings: Settings) -> Service[Settings]:
    """Serving's control process: events in, deployments and the prediction log out."""
    control = Control()
    return Service(
        name="serving",
        settings=settings,
        migrations="services.serving.migrations",
        foreign_groups=foreign_groups,
        routes=lambda resources: [
            api.router(
                project=resources.settings.project,
                pool=resources.pool,
                workers=control.parts(resources).fleet,
                log_rules=control.parts(resources).log_rules,
            ),
            traffic_api.router(
                project=resources.settings.project,
                bus=resources.bus,
                clock=resources.clock,
                noted=control.parts(resources).reconciler.poke,
            ),
            bandits_api.router(
                project=resources.settings.project,
                bus=resources.bus,
                driver=control.parts(resources).bandits,
            ),
            experiments_api.router(
                project=resources.settings.project,
                bus=resources.bus,
                experimenter=control.parts(resources).experimenter,
                workers=control.parts(resources).fleet,
                noted=control.parts(resources).reconciler.poke,
            ),
            learners_api.router(
                project=resources.settings.project, bus=resources.bus, clock=resources.clock
            ),
            rollouts_api.router(
                project=resources.settings.project,
                bus=resources.bus,
                driver=control.parts(resources).driver,
            ),
        ],
        subscriptions=lambda resources: [
            _subscription(control.parts(resources), resources),
            Subscription(
                group="serving.outcomes",
                batches={
                    LabelObserved: control.parts(resources).outcomes.on_labels,
                    RewardObserved: control.parts(resources).outcomes.on_rewards,
                },
                twins_harmless=True,
            ),
        ],
        background=lambda resources: [
            lambda: _run(control.parts(resources), resources),
            control.parts(resources).intake.run,
            control.parts(resources).reconciler.tidy,
            control.parts(resources).outcomes.run,
            *_drives(control.parts(resources), resources),
        ],
        tails=lambda resources: [control.parts(resources).tail],
        checks=lambda resources: [control.parts(resources).trouble],
    )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the control process is made of."""

    fleet: Fleet
    log_rules: LogRuleBook
    intake: LogIntake
    rollout: Rollout
    reconciler: Reconciler
    explicit: ExplicitModels
    cache: ArtifactCache
    converter: Converter
    tail: Tail
    outcomes: Outcomes
    driver: RolloutDriver
    bandits: BanditDriver
    experimenter: Experimenter

    async def trouble(self) -> str | None:
        """Why this process is not ready."""
        if not self.reconciler.restored:
            return "champions are being restored"
        if self.reconciler.lost:
            return f"champions not restored: {', '.join(sorted(self.reconciler.lost))}"
        return None


class Control:
    """Makes the parts once, when the resources are there."""

    def __init__(self) -> None:
        self._parts: Parts | None = None

    def parts(self, resources: Resources[Settings]) -> Parts:
        """The parts of this process."""
        if self._parts is None:
            self._parts = _wire(resources)
        return self._parts


def _wire(resources: Resources[Settings]) -> Parts:
    settings = resources.settings
    log = resources.log
    meters = DeploymentMeters(resources.metrics)
    outcomes = Outcomes(
        project=settings.project,
        bus=resources.bus,
        horizon=timedelta(hours=settings.outcome_hours),
        log=log,
    )
    intake = LogIntake(
        kafka=settings.kafka, metrics=resources.metrics, log=log, published=outcomes.heard
    )
    cache = ArtifactCache(
        directory=settings.cache_dir,
        blobs=resources.blobs,
        keep_bytes=settings.cache_keep_bytes,
    )
    signatures = Signatures(policy=settings.signatures, trusted_keys=settings.trusted_keys)
    fleet = Fleet(
        log=log,
        intake=intake,
        first_answer=lambda status: reconciler.first_answer(status),  # noqa: PLW0108 - made below
        size_changed=meters.workers,
        asked=lambda request: explicit.carry_out(request),  # noqa: PLW0108 - made below
    )
    promoted = PromotedModels(
        project=settings.project,
        moved=lambda: reconciler.aliases_moved(),  # noqa: PLW0108 - made below
    )
    rollout = Rollout(
        ledger=Ledger(bus=resources.bus, clock=resources.clock),
        placement=Placement(
            project=settings.project,
            pool=resources.pool,
            cache=cache,
            signatures=signatures,
            limits=settings.sandbox_limits,
            memory_budget=settings.model_memory_bytes,
            log=log,
        ),
        fleet=fleet,
        meters=meters,
        clock=resources.clock,
        aliases=promoted.aliases_of,
        log=log,
    )
    told = TrafficStates(project=settings.project)
    director = TrafficDirector(
        project=settings.project,
        bus=resources.bus,
        rollout=rollout,
        told=told,
        clock=resources.clock,
        log=log,
    )
    tail = Tail(
        kafka=settings.kafka,
        topics=VIEWS["serving"],
        on_event=_each(promoted.on_event, told.on_event),
        on_tombstone=_each(promoted.on_tombstone, told.on_tombstone),
        log=log,
    )
    reconciler = Reconciler(
        project=settings.project,
        pool=resources.pool,
        rollout=rollout,
        traffic=director,
        promoted=promoted,
        promoted_read=tail.caught_up,
        log=log,
    )
    explicit = ExplicitModels(
        project=settings.project,
        allowed=settings.model_control == "explicit",
        pool=resources.pool,
        rollout=rollout,
        reconciler=reconciler,
        log=log,
    )
    log_rules = LogRuleBook(
        project=settings.project,
        pool=resources.pool,
        fleet=fleet,
        can_hash=bool(settings.log_hash_key.get_secret_value()),
        log=log,
    )
    driver = RolloutDriver(project=settings.project, fleet=fleet, clock=resources.clock, log=log)
    return Parts(
        fleet=fleet,
        log_rules=log_rules,
        intake=intake,
        rollout=rollout,
        reconciler=reconciler,
        explicit=explicit,
        cache=cache,
        converter=Converter(
            project=settings.project,
            bus=resources.bus,
            cache=cache,
            signatures=signatures,
            blobs=resources.blobs,
            limits=settings.conversion_limits,
            clock=resources.clock,
            log=log,
        ),
        tail=tail,
        outcomes=outcomes,
        driver=driver,
        bandits=BanditDriver(
            project=settings.project, clock=resources.clock, random=np.random.default_rng()
        ),
        experimenter=Experimenter(project=settings.project, clock=resources.clock),
    )


def _drives(parts: Parts, resources: Resources[Settings]) -> list[Callable[[], Awaitable[None]]]:
    return drives(
        project=resources.settings.project,
        bus=resources.bus,
        rollout_driver=parts.driver,
        bandit_driver=parts.bandits,
        experimenter=parts.experimenter,
        noted=parts.reconciler.poke,
        log=resources.log,
    )


def _each(*views: Callable[[_T], Awaitable[None]]) -> Callable[[_T], Awaitable[None]]:
    """Gives what is read to several views, in turn."""

    async def give(read: _T) -> None:
        for view in views:
            await view(read)

    return give


def _subscription(parts: Parts, resources: Resources[Settings]) -> Subscription:
    handlers = Handlers(
        project=resources.settings.project,
        converts=_converts(resources.settings),
        noted=parts.reconciler.poke,
        rejected=parts.rollout.forget_candidate,
        give_back=parts.driver.on_rejected,
    )
    return Subscription(
        group="serving.events",
        handlers={
            ModelVersionCreated: handlers.on_model_version_created,
            ModelVersionConverted: handlers.on_model_version_converted,
            PromotionRequested: handlers.on_promotion_requested,
            PromotionDecided: handlers.on_promotion_decided,
            ModelPromoted: handlers.on_model_promoted,
        },
    )


async def _run(parts: Parts, resources: Resources[Settings]) -> None:
    """Workers are let in only once every champion is known, so that none goes back in time."""
    await asyncio.to_thread(parts.cache.clear_incoming)
    await parts.log_rules.load()
    await parts.reconciler.persist(parts.explicit.restore)
    await parts.reconciler.restore()
    async with parts.fleet.listening(resources.settings.socket), asyncio.TaskGroup() as group:
        group.create_task(parts.reconciler.run())
        if _converts(resources.settings):
            group.create_task(parts.converter.run())


def _converts(settings: Settings) -> bool:
    """Whether it is wanted, could be served, and is installed (the extra `convert`)."""
    served = settings.signatures is not SignaturePolicy.ALL
    return settings.convert and served and find_spec("skl2onnx") is not None
