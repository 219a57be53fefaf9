"""What tracking takes from Kafka: runs that producers report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from headrace.errors import Conflict, InvalidInput
from headrace.events import RunReported
from headrace.runtime.bus import Caller, Event, Tx
from headrace.runtime.clock import Clock
from services.tracking.domain.entities import RunInfo
from services.tracking.domain.entries import NewRun
from services.tracking.domain.intake import batch_of, check_report
from services.tracking.domain.naming import name_for
from services.tracking.store import experiments, runs, writes

_CHANGES: Final = frozenset({"run_name", "status", "start_time", "end_time"})


def on_run_reported(
    *, project: str, clock: Clock
) -> Callable[[Event[RunReported], Tx], Awaitable[None]]:
    """The handler of reports: the run is made if it is new, then what is reported is logged.

    A report that comes twice changes nothing. One that contradicts what is there, or breaks a
    rule of the REST API, raises InvalidInput or Conflict: it is dead-lettered.
    """

    async def handle(event: Event[RunReported], tx: Tx) -> None:
        report = event.data
        check_report(report, project=project)
        batch = batch_of(report)
        try:
            run = await _run_of(event, tx, project=project, clock=clock)
            await writes.write_batch(tx, project=project, run=run, batch=batch)
            if report.model_fields_set & _CHANGES:
                await _change(report, tx, project=project, clock=clock)
        except asyncpg.DataError as error:
            raise InvalidInput(f"run {report.run_id}: {error}") from error

    return handle


async def _run_of(event: Event[RunReported], tx: Tx, *, project: str, clock: Clock) -> RunInfo:
    report = event.data
    found = await runs.find_run(tx.connection, project=project, run_id=report.run_id)
    if found is not None:
        await _check_home(tx, report, found, project=project)
        return await runs.lock_run(tx.connection, project=project, run_id=report.run_id)
    home = await experiments.ensure_experiment(
        tx.connection, project=project, name=report.experiment, now_ms=clock.now_ms()
    )
    started = report.start_time
    new = NewRun(
        run_id=report.run_id,
        experiment=home,
        name=report.run_name or name_for(report.run_id),
        start_time=int(event.time.timestamp() * 1000) if started is None else started,
        chain=writes.chain_of(Caller.by(event)),
    )
    return await writes.start_run(tx, new, project=project)


async def _change(report: RunReported, tx: Tx, *, project: str, clock: Clock) -> None:
    await writes.change_run(
        tx,
        await runs.lock_run(tx.connection, project=project, run_id=report.run_id),
        project=project,
        clock=clock,
        name=report.run_name,
        status=report.status,
        start_time=report.start_time,
        end_time=report.end_time,
    )


async def _check_home(tx: Tx, report: RunReported, found: RunInfo, *, project: str) -> None:
    """A report that names another experiment than the run's contradicts it."""
    if "experiment" not in report.model_fields_set:
        return
    home = await experiments.get_experiment(
        tx.connection, project=project, number=int(found.experiment_id)
    )
    if home.name != report.experiment:
        raise Conflict(
            f"run {report.run_id} belongs to experiment {home.name!r}, "
            f"the report says {report.experiment!r}"
        )
