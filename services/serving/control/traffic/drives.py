"""Everything that drives traffic, as loops that run beside each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from headrace.runtime.bus import Bus
from headrace.runtime.telemetry import Log
from services.serving.control.traffic.bandits import BanditDriver
from services.serving.control.traffic.driving import Drive
from services.serving.control.traffic.experiments import Experimenter
from services.serving.control.traffic.rollouts import RolloutDriver
from services.serving.store import bandits, experiments, rollouts


def drives(
    *,
    project: str,
    bus: Bus,
    rollout_driver: RolloutDriver,
    bandit_driver: BanditDriver,
    experimenter: Experimenter,
    noted: Callable[[], None],
    log: Log,
) -> list[Callable[[], Awaitable[None]]]:
    """Loops to be run until cancelled; `noted` is called after one set a table."""
    return [
        Drive(
            kind="rollout",
            project=project,
            bus=bus,
            running=partial(rollouts.running, project=project),
            step=rollout_driver.step,
            noted=noted,
            log=log,
        ).run,
        Drive(
            kind="bandit",
            project=project,
            bus=bus,
            running=partial(bandits.running, project=project),
            step=bandit_driver.step,
            noted=noted,
            log=log,
        ).run,
        Drive(
            kind="experiment",
            project=project,
            bus=bus,
            running=partial(experiments.running, project=project),
            step=experimenter.step,
            noted=noted,
            log=log,
        ).run,
    ]
