"""What drives a table, put into its state and taken out of it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, assert_never

import orjson

from headrace.events import ArmEarned, TrafficDriver, TrafficState
from headrace.runtime.db import Connection
from services.serving.control.traffic.driving import ensure_undriven
from services.serving.domain.bandit import Bandit, BanditPlan
from services.serving.domain.driving import Beginning
from services.serving.domain.experiments import Experiment, ExperimentState
from services.serving.domain.judging import Total
from services.serving.domain.rollouts import Rollout, RolloutState
from services.serving.domain.traffic import TrafficTable
from services.serving.store import bandits, experiments, outcomes, rollouts


async def driver_of(connection: Connection, table: TrafficTable) -> TrafficDriver | None:
    """What drives a table, if that still runs."""
    running: list[Rollout | Bandit | Experiment] = [
        *await rollouts.running(connection, project=table.project),
        *await bandits.running(connection, project=table.project),
        *await experiments.running(connection, project=table.project),
    ]
    for each in running:
        if each.model == table.model and each.table == table.version:
            return await _driver(connection, each)
    return None


async def put_back(connection: Connection, state: TrafficState) -> None:
    """Have what drove the table go on, with what counted when it came into force.

    It replaces an older copy of itself. Raises Conflict while something else drives the model.
    """
    driver = state.driver
    if driver is None:
        return
    for store in (rollouts, bandits, experiments):
        await store.forget(connection, driver.driver_id)
    await ensure_undriven(connection, project=state.project, model=state.model)
    match driver.kind:
        case "rollout":
            await _put_rollout(connection, state, driver)
        case "bandit":
            await _put_bandit(connection, state, driver)
        case "experiment":
            await _put_experiment(connection, state, driver)
        case _:
            assert_never(driver.kind)
    earned = {
        each.arm: Total(count=each.count, total=each.total, squares=each.squares)
        for each in driver.earned
    }
    await outcomes.set_totals(
        connection,
        project=state.project,
        model=state.model,
        table=driver.first_table,
        earned=earned,
    )


async def _driver(connection: Connection, driven: Rollout | Bandit | Experiment) -> TrafficDriver:
    match driven:
        case Rollout():
            return _told(driven, "rollout", driven.rollout_id, driven.table, step=driven.step)
        case Experiment():
            return _told(
                driven,
                "experiment",
                driven.experiment_id,
                driven.table,
                experiment=driven.name,
            )
        case Bandit():
            earned = await _earned(connection, driven)
            return _told(driven, "bandit", driven.bandit_id, driven.first_table, earned=earned)


def _told(
    driven: Rollout | Bandit | Experiment,
    kind: Literal["rollout", "bandit", "experiment"],
    driver_id: str,
    first_table: int,
    *,
    step: int = 0,
    experiment: str | None = None,
    earned: list[ArmEarned] | None = None,
) -> TrafficDriver:
    return TrafficDriver(
        kind=kind,
        driver_id=driver_id,
        experiment=experiment,
        plan=orjson.dumps(asdict(driven.plan)).decode(),
        step=step,
        first_table=first_table,
        earned=earned or [],
        author=driven.author,
        reason=driven.reason,
        correlation_id=driven.correlation_id,
        started_at=driven.started_at,
    )


async def _earned(connection: Connection, bandit: Bandit) -> list[ArmEarned]:
    totals = await outcomes.totals(
        connection,
        project=bandit.project,
        model=bandit.model,
        first=bandit.first_table,
        last=bandit.table,
    )
    return [
        ArmEarned(arm=arm, count=each.count, total=each.total, squares=each.squares)
        for arm, each in totals.items()
    ]


async def _put_rollout(connection: Connection, state: TrafficState, driver: TrafficDriver) -> None:
    await rollouts.insert(
        connection,
        Rollout(
            rollout_id=driver.driver_id,
            plan=rollouts.plan_of(orjson.loads(driver.plan)),
            state=RolloutState.RUNNING,
            step=driver.step,
            step_at=state.changed_at,
            **_beginning(state, driver),
        ),
    )


async def _put_bandit(connection: Connection, state: TrafficState, driver: TrafficDriver) -> None:
    await bandits.insert(
        connection,
        Bandit(
            bandit_id=driver.driver_id,
            plan=BanditPlan(**orjson.loads(driver.plan)),
            running=True,
            first_table=driver.first_table,
            judged=sum(each.count for each in driver.earned),
            weighed_at=state.changed_at,
            **_beginning(state, driver),
        ),
    )


async def _put_experiment(
    connection: Connection, state: TrafficState, driver: TrafficDriver
) -> None:
    await experiments.insert(
        connection,
        Experiment(
            experiment_id=driver.driver_id,
            name=driver.experiment or driver.driver_id,
            plan=experiments.plan_of(orjson.loads(driver.plan)),
            state=ExperimentState.RUNNING,
            **_beginning(state, driver),
        ),
    )


def _beginning(state: TrafficState, driver: TrafficDriver) -> Beginning:
    return Beginning(
        project=state.project,
        model=state.model,
        champion=state.champion_version or 0,
        table=state.table_version,
        author=driver.author,
        reason=driver.reason,
        correlation_id=driver.correlation_id,
        started_at=driver.started_at,
    )
