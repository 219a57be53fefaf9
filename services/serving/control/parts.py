"""What the control process is made of, and how the parts know one another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np

from headrace.events.topics import VIEWS
from headrace.runtime.bus import Tail
from headrace.runtime.service import Resources
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
from services.serving.control.traffic.experiments import Experimenter
from services.serving.control.traffic.outcomes import Outcomes
from services.serving.control.traffic.rollouts import RolloutDriver
from services.serving.control.traffic.states import TrafficStates
from services.serving.settings import Settings

_T = TypeVar("_T")


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


def _each(*views: Callable[[_T], Awaitable[None]]) -> Callable[[_T], Awaitable[None]]:
    """Gives what is read to several views, in turn."""

    async def give(read: _T) -> None:
        for view in views:
            await view(read)

    return give
