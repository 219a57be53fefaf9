"""What tracking takes from Kafka: runs that producers report, versions of logged models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from headrace.errors import Conflict, InvalidInput, Permanent
from headrace.events import ModelVersionCreated, RunReported
from headrace.runtime.bus import Caller, Event, Tx
from headrace.runtime.clock import Clock
from services.tracking.domain.entities import Registration
from services.tracking.domain.entries import Chain, Entry, NewRun
from services.tracking.domain.intake import check_report, entry_of_report
from services.tracking.domain.naming import name_for
from services.tracking.store import experiments, registrations, runs, writes
from services.tracking.store.chains import chain_of
from services.tracking.store.log import append
from services.tracking.store.starting import start_runs

_CHANGES: Final = frozenset({"run_name", "status", "start_time", "end_time"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reported:
    """A report that keeps the rules, and what it adds to its run."""

    event: Event[RunReported]
    entry: Entry

    @property
    def report(self) -> RunReported:
        return self.event.data

    @property
    def changes_run(self) -> bool:
        """Whether it says something of the run itself."""
        return bool(self.report.model_fields_set & _CHANGES)


def on_runs_reported(
    *, project: str, clock: Clock
) -> Callable[[Sequence[Event[RunReported]], Tx], Awaitable[None]]:
    """The handler of reports: runs are made if they are new, then what is reported is logged.

    A report that comes twice changes nothing. One that contradicts what is there, or breaks a
    rule of the REST API, is dead-lettered; the others of its batch are not touched by it.
    """

    async def handle(events: Sequence[Event[RunReported]], tx: Tx) -> None:
        intake = _Intake(tx=tx, project=project, clock=clock)
        try:
            await intake.take(events)
        except asyncpg.DataError as error:
            raise InvalidInput(f"run {events[0].data.run_id}: {error}") from error

    return handle


def on_version_created(
    *, project: str
) -> Callable[[Event[ModelVersionCreated], Tx], Awaitable[None]]:
    """The handler of new versions: the logged model that one was made from names it."""

    async def handle(event: Event[ModelVersionCreated], tx: Tx) -> None:
        version = event.data
        if version.project == project and version.logged_model_id is not None:
            await registrations.add_registration(
                tx.connection,
                project=project,
                model_id=version.logged_model_id,
                registration=Registration(name=version.model, version=version.version),
            )

    return handle


class _Intake:
    """The reports of one transaction."""

    def __init__(self, *, tx: Tx, project: str, clock: Clock) -> None:
        self._tx = tx
        self._project = project
        self._clock = clock
        self._homes: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    async def take(self, events: Sequence[Event[RunReported]]) -> None:
        """Apply reports in their order; those that cannot be are refused."""
        reported = [one for event in events if (one := self._read(event)) is not None]
        await self._find_homes(reported)
        welcome = [one for one in reported if await self._has_run(one)]
        waiting: list[_Reported] = []
        for one in welcome:
            waiting.append(one)
            if one.changes_run:
                if one.event not in await self._log(waiting):
                    await self._change(one)
                waiting = []
        await self._log(waiting)

    def _read(self, event: Event[RunReported]) -> _Reported | None:
        try:
            check_report(event.data, project=self._project)
            return _Reported(event=event, entry=entry_of_report(event.data, chain=_chain(event)))
        except InvalidInput as error:
            self._tx.refuse(event, error)
            return None

    async def _find_homes(self, reported: Sequence[_Reported]) -> None:
        """Names of the experiments of the runs that exist."""
        self._homes = await runs.experiment_names(
            self._tx.connection,
            project=self._project,
            run_ids=[one.report.run_id for one in reported],
        )

    async def _has_run(self, one: _Reported) -> bool:
        """Whether the report's run is there, made now if need be, and where it says."""
        report = one.report
        home = self._homes.get(report.run_id)
        if home is None:
            return await self._start(one)
        if "experiment" in report.model_fields_set and home != report.experiment:
            self._tx.refuse(
                one.event,
                Conflict(
                    f"run {report.run_id} belongs to experiment {home!r}, "
                    f"the report says {report.experiment!r}"
                ),
            )
            return False
        return True

    async def _start(self, one: _Reported) -> bool:
        report = one.report
        started = report.start_time
        if started is None:
            started = int(one.event.time.timestamp() * 1000)
        new = NewRun(
            run_id=report.run_id,
            experiment=await self._number_of(report.experiment),
            name=report.run_name or name_for(report.run_id),
            start_time=started,
            chain=one.entry.chain,
        )
        (outcome,) = await start_runs(self._tx.connection, [new], project=self._project)
        if isinstance(outcome, Conflict):
            # Somebody made it in the meantime: it is looked at as it is now.
            await self._find_homes([one])
            if report.run_id in self._homes:
                return await self._has_run(one)
        if isinstance(outcome, Permanent):
            self._tx.refuse(one.event, outcome)
            return False
        self._homes[report.run_id] = report.experiment
        return True

    async def _number_of(self, experiment: str) -> int:
        if experiment not in self._numbers:
            self._numbers[experiment] = await experiments.ensure_experiment(
                self._tx.connection,
                project=self._project,
                name=experiment,
                now_ms=self._clock.now_ms(),
            )
        return self._numbers[experiment]

    async def _log(self, reported: Sequence[_Reported]) -> list[Event[RunReported]]:
        """Add what they bring to the log; returns the events refused."""
        if not reported:
            return []
        entries = [one.entry for one in reported]
        appended = await append(self._tx.connection, entries, project=self._project)
        refused = []
        for one, outcome in zip(reported, appended.outcomes, strict=True):
            if isinstance(outcome, Permanent):
                self._tx.refuse(one.event, outcome)
                refused.append(one.event)
            elif outcome is not None:
                raise outcome
        return refused

    async def _change(self, one: _Reported) -> None:
        report = one.report
        await writes.change_run(
            self._tx,
            await runs.lock_run(self._tx.connection, project=self._project, run_id=report.run_id),
            project=self._project,
            clock=self._clock,
            chain=one.entry.chain,
            name=report.run_name,
            status=report.status,
            start_time=report.start_time,
            end_time=report.end_time,
        )


def _chain(event: Event[RunReported]) -> Chain | None:
    """The chain that the producer named; a report that begins its own is told with its run's."""
    correlation_id = event.envelope.correlation_id
    if not correlation_id or correlation_id == event.id:
        return None
    return chain_of(Caller.by(event))
