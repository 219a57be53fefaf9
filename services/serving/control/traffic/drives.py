"""Everything that drives traffic, as loops that run beside each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from headrace.runtime.bus import Bus
from headrace.runtime.telemetry import Log
from services.serving.control.traffic.bandits import BanditDriver
from services.serving.control.traffic.driving import Drive, DrivenT, Running, Step
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

    def drive(
        kind: str, running: Running[DrivenT], step: Step[DrivenT]
    ) -> Callable[[], Awaitable[None]]:
        return Drive(
            kind=kind,
            project=project,
            bus=bus,
            running=running,
            step=step,
            noted=noted,
            log=log,
        ).run

    return [
        drive("rollout", partial(rollouts.running, project=project), rollout_driver.step),
        drive("bandit", partial(bandits.running, project=project), bandit_driver.step),
        drive("experiment", partial(experiments.running, project=project), experimenter.step),
    ]
