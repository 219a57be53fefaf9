"""What rollouts, bandits and experiments have in common: one of them drives a model at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from headrace.errors import Conflict, HeadraceError
from headrace.ids import new_id
from headrace.runtime.bus import Bus, Caller, Tx
from headrace.runtime.db import Connection
from headrace.runtime.telemetry import Log
from services.serving.control.traffic.setting import lock_traffic
from services.serving.domain.driving import Beginning, Driven
from services.serving.domain.judging import Judged
from services.serving.domain.traffic import TableState, TrafficTable
from services.serving.store import bandits, experiments, rollouts, traffic

_PAUSE: Final = 0.5


DrivenT = TypeVar("DrivenT", bound=Driven)
Running = Callable[[Connection], Awaitable[Sequence[DrivenT]]]
Step = Callable[[Tx, DrivenT, int | None, TrafficTable | None], Awaitable[bool]]
"""Looks at one, given the model's champion and newest table; whether it set a table."""


async def ensure_undriven(connection: Connection, *, project: str, model: str) -> None:
    """Raises Conflict while something drives the model; under its lock (`traffic.lock`)."""
    running: dict[str, Sequence[Driven]] = {
        "a rollout": await rollouts.running(connection, project=project),
        "a bandit": await bandits.running(connection, project=project),
        "an experiment": await experiments.running(connection, project=project),
    }
    for kind, driven in running.items():
        if any(each.model == model for each in driven):
            raise Conflict(f"{kind} of {model!r} runs already; end it first")


async def watched(connection: Connection, *, project: str) -> list[Judged]:
    """Models whose predictions are measured now, one measure each."""
    found = [
        *(each.watched for each in await rollouts.running(connection, project=project)),
        *(each.watched for each in await bandits.running(connection, project=project)),
        *(each.watched for each in await experiments.running(connection, project=project)),
    ]
    return [each for each in found if each is not None]


def why_over(driven: Driven, champion: int | None, table: TrafficTable | None) -> str | None:
    """Why something cannot go on, by the champion and the newest table; None if it can."""
    if champion != driven.champion:
        return "another one is champion"
    if table is None or table.version != driven.table:
        return "somebody set another table"
    if table.state is TableState.FAILED:
        return table.failure or "its table failed"
    if table.state is TableState.ENDED:
        return "its table ended"
    return None


async def begin(
    tx: Tx, *, project: str, model: str, author: str, reason: str, now: datetime
) -> Beginning:
    """The beginning of something new that has set no table yet.

    Keeps others from setting the model's traffic until the commit. Raises NotFound when nothing
    answers for the model, Conflict while something else drives it.
    """
    champion = await lock_traffic(tx, project=project, model=model)
    await ensure_undriven(tx.connection, project=project, model=model)
    return Beginning(
        project=project,
        model=model,
        champion=champion,
        table=0,
        author=author,
        reason=reason,
        correlation_id=tx.caller.correlation_id if tx.caller else new_id(),
        started_at=now,
    )


class Drive(Generic[DrivenT]):
    """Looks at all of one kind that run, in a transaction each; a restart goes on by the schema."""

    def __init__(
        self,
        *,
        kind: str,
        project: str,
        bus: Bus,
        running: Running[DrivenT],
        step: Step[DrivenT],
        noted: Callable[[], None],
        log: Log,
    ) -> None:
        """`noted` is called after a step that set a table."""
        self._kind = kind
        self._project = project
        self._bus = bus
        self._running = running
        self._step = step
        self._noted = noted
        self._log = log

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        while True:
            try:
                async with self._bus.transaction() as tx:
                    running = await self._running(tx.connection)
                for driven in running:
                    await self._look_at(driven)
            except Exception as error:
                self._log.warning("traffic_drive_interrupted", kind=self._kind, reason=repr(error))
            await asyncio.sleep(_PAUSE)

    async def _look_at(self, driven: DrivenT) -> None:
        where = {"project": self._project, "model": driven.model}
        try:
            async with self._bus.transaction(Caller(correlation_id=driven.correlation_id)) as tx:
                champion = await traffic.lock(tx.connection, **where)
                table = await traffic.latest(tx.connection, **where)
                changed = await self._step(tx, driven, champion, table)
        except HeadraceError as error:
            self._log.warning(
                "traffic_drive_waits", kind=self._kind, model=driven.model, reason=str(error)
            )
            return
        if changed:
            self._noted()
