"""Experiments: begun with one table, read at any time, concluded or stopped by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace.errors import Conflict
from headrace.events import ArmResult, ExperimentChanged, TrafficArm
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from headrace.runtime.clock import Clock
from headrace.runtime.db import Connection
from services.serving.control.traffic.driving import begin, why_over
from services.serving.control.traffic.setting import lock_traffic, set_traffic
from services.serving.domain.experiments import (
    ArmFound,
    Experiment,
    ExperimentPlan,
    ExperimentState,
    check_experiment,
    check_winner,
    read_out,
)
from services.serving.domain.traffic import CHAMPION_ARM, Plan, Setting, TrafficTable
from services.serving.store import experiments, outcomes


class Experimenter:
    """Every step commits with its table and its event."""

    def __init__(self, *, project: str, clock: Clock) -> None:
        self._project = project
        self._clock = clock

    async def start(
        self, tx: Tx, *, model: str, name: str, plan: ExperimentPlan, author: str, reason: str
    ) -> tuple[Experiment, bool]:
        """A new experiment, or the same one told again (False).

        Raises Conflict for another one of this name, or while something else drives the model.
        """
        check_experiment(name, plan)
        await lock_traffic(tx, project=self._project, model=model)
        known = await experiments.named(
            tx.connection, project=self._project, model=model, name=name
        )
        if known is not None:
            if known.plan != plan:
                raise Conflict(f"experiment {name!r} of {model!r} is another one; choose a name")
            return known, False
        beginning = await begin(
            tx,
            project=self._project,
            model=model,
            author=author,
            reason=reason,
            now=self._clock.now(),
        )
        experiment = Experiment(
            experiment_id=new_id(),
            name=name,
            plan=plan,
            state=ExperimentState.RUNNING,
            **beginning,
        )
        table = await self._set_table(tx, experiment, _split(experiment), author, reason)
        experiment = replace(experiment, table=table.version)
        await experiments.insert(tx.connection, experiment)
        _emit(tx, experiment, "start", found=())
        return experiment, True

    async def conclude(
        self, tx: Tx, experiment: Experiment, *, winner: str, author: str, reason: str
    ) -> Experiment:
        """End it with a winner; the champion has everything until the registry promotes that.

        The same conclusion again changes nothing. Raises Conflict when it ended otherwise.
        """
        check_winner(experiment, winner)
        if experiment.state is ExperimentState.CONCLUDED and experiment.winner == winner:
            return experiment
        found = await found_by(tx.connection, experiment)
        best = next(each for each in found if each.arm == winner)
        ended = replace(
            experiment,
            state=ExperimentState.CONCLUDED,
            winner=winner,
            proven=best.better,
            ended_at=self._clock.now(),
            ended_by=author,
            outcome=reason or _said(best),
        )
        await self._end(tx, ended, found)
        await self._set_table(tx, ended, Plan(), author, f"experiment {ended.name} is concluded")
        return ended

    async def stop(self, tx: Tx, experiment: Experiment, *, author: str, reason: str) -> Experiment:
        """End it without a winner; the champion has everything. Again: nothing changes.

        Raises Conflict when it was concluded.
        """
        if experiment.state is ExperimentState.STOPPED:
            return experiment
        ended = await self._stop(tx, experiment, author=author, reason=reason)
        await self._set_table(tx, ended, Plan(), author, f"experiment {ended.name} is stopped")
        return ended

    async def step(
        self, tx: Tx, experiment: Experiment, champion: int | None, table: TrafficTable | None
    ) -> bool:
        """Stop what cannot go on; never sets a table."""
        over = why_over(experiment, champion, table)
        if over is not None:
            await self._stop(tx, experiment, author=experiment.author, reason=over)
        return False

    async def _stop(
        self, tx: Tx, experiment: Experiment, *, author: str, reason: str
    ) -> Experiment:
        ended = replace(
            experiment,
            state=ExperimentState.STOPPED,
            ended_at=self._clock.now(),
            ended_by=author,
            outcome=reason or "stopped",
        )
        await self._end(tx, ended, await found_by(tx.connection, experiment))
        return ended

    async def _end(self, tx: Tx, ended: Experiment, found: Sequence[ArmFound]) -> None:
        if not await experiments.end(tx.connection, ended):
            raise Conflict(f"experiment {ended.name!r} of {ended.model!r} ended already")
        action = "conclude" if ended.state is ExperimentState.CONCLUDED else "stop"
        _emit(tx, ended, action, found=found)
        await outcomes.forget(tx.connection, project=self._project, model=ended.model)

    async def _set_table(
        self, tx: Tx, experiment: Experiment, plan: Plan, author: str, reason: str
    ) -> TrafficTable:
        setting = Setting(
            plan=plan,
            cause="request",
            author=author,
            reason=reason,
            owner=experiment.experiment_id,
        )
        return await set_traffic(
            tx,
            project=self._project,
            model=experiment.model,
            setting=setting,
            now=self._clock.now(),
        )


async def found_by(connection: Connection, experiment: Experiment) -> tuple[ArmFound, ...]:
    """What is known of every arm now."""
    totals = await outcomes.totals(
        connection,
        project=experiment.project,
        model=experiment.model,
        first=experiment.table,
        last=experiment.table,
    )
    return read_out(experiment, totals)


def _split(experiment: Experiment) -> Plan:
    """A salt of its own: keys fall anew, so that no arm inherits those of an earlier one."""
    return Plan(
        arms=experiment.plan.arms, experiment=experiment.name, salt=experiment.experiment_id
    )


def _said(best: ArmFound) -> str:
    if best.arm == CHAMPION_ARM or best.difference is None:
        return "back to the champion"
    low, high = best.difference.low, best.difference.high
    return (
        f"{best.arm} differs from the champion by {low:+.4f} to {high:+.4f}"
        f" over {best.count} outcomes"
    )


def _emit(tx: Tx, experiment: Experiment, action: str, *, found: Sequence[ArmFound]) -> None:
    plan = experiment.plan
    winner = experiment.winner if experiment.winner != CHAMPION_ARM else None
    told = {
        "project": experiment.project,
        "experiment_id": experiment.experiment_id,
        "model": experiment.model,
        "experiment": experiment.name,
        "action": action,
        "metric": plan.metric.kind,
        "goal": plan.metric.goal,
        "alpha": plan.alpha,
        "size": plan.size,
        "arms": [
            TrafficArm(arm=arm.name, version=arm.version, weight=arm.weight) for arm in plan.arms
        ],
        "champion_version": experiment.champion,
        "table_version": experiment.table,
        "results": [_result(each) for each in found],
        "winner": experiment.winner,
        "winner_version": experiment.versions[winner] if winner else None,
        "proven": experiment.proven,
        "reason": experiment.outcome or experiment.reason,
        "author": experiment.ended_by or experiment.author,
        "changed_at": experiment.ended_at or experiment.started_at,
    }
    tx.emit(ExperimentChanged.model_validate(told))


def _result(found: ArmFound) -> ArmResult:
    apart = found.difference
    return ArmResult(
        arm=found.arm,
        version=found.version,
        count=found.count,
        mean=found.mean,
        mean_low=found.interval.low,
        mean_high=found.interval.high,
        difference_low=apart.low if apart else None,
        difference_high=apart.high if apart else None,
        p_value=found.p_value,
    )
