"""The composition root of the control process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Final

from headrace.events import (
    LabelObserved,
    ModelPromoted,
    ModelVersionConverted,
    ModelVersionCreated,
    PromotionDecided,
    PromotionRequested,
    RewardObserved,
)
from headrace.runtime.bus import Subscription
from headrace.runtime.service import Resources, Service
from services.serving import api
from services.serving.api import bandits as bandits_api
from services.serving.api import experiments as experiments_api
from services.serving.api import learners as learners_api
from services.serving.api import rollouts as rollouts_api
from services.serving.api import traffic as traffic_api
from services.serving.asynchronous.groups import foreign_groups
from services.serving.control.parts import Control, Parts
from services.serving.control.traffic.drives import drives
from services.serving.domain.trust import SignaturePolicy
from services.serving.handlers import Handlers
from services.serving.settings import Settings

_NICENESS: Final = 5


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
    # It may share its cores with workers, and answers come first.
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
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
