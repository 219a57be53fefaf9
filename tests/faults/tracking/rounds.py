"""One round after the other on one platform: traffic and kills, everything up again, verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import uuid4

import httpx

from deploy.local import Stack, identity
from deploy.local.process import SupervisedProcess
from headrace.client import EventProducer
from tests.faults.tracking.judge import Judgement, arrived, judge
from tests.faults.tracking.ledger import Ledger
from tests.faults.tracking.plan import VICTIMS, Kill, Plan
from tests.faults.tracking.reporter import Reporter
from tests.faults.tracking.writer import API, Writer

_WRITERS: Final = 6
_REPORTERS: Final = 2
_ARRIVAL_SECONDS: Final = 60.0
_READY_SECONDS: Final = 90.0
_ENDING_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of one round."""

    plan: Plan
    ledger: Ledger
    judgement: Judgement
    seconds: float

    @property
    def sound(self) -> bool:
        return not self.judgement.violations

    def __str__(self) -> str:
        unknown = sum(map(len, self.ledger.unknown.values()))
        found = len(self.judgement.violations)
        return (
            f"seed {self.plan.seed}: {self.ledger.writes} writes acknowledged,"
            f" {self.ledger.resent} resent, {self.judgement.points} points"
            f" ({unknown} of unknown fate sent), digest {self.judgement.digest},"
            f" {self.seconds:.1f} s, {found} {'violations' if self.sound else 'VIOLATIONS'}"
            f" [{self.plan}]"
        )


@contextmanager
def running_platform() -> Iterator[Stack]:
    """Tracking and its backends, durable, in a directory and on ports of their own."""
    with Stack.temporary(services=("tracking",), durable=True) as stack:
        yield stack


async def carry_out(stack: Stack, plan: Plan) -> Verdict:
    """One round; returns when it is judged."""
    began = time.monotonic()
    ledger = Ledger()
    async with (
        httpx.AsyncClient(base_url=stack.urls["tracking"], timeout=15) as http,
        EventProducer(kafka=stack.urls["kafka"], source="/faults") as producer,
    ):
        experiment = f"faults {plan.seed} {uuid4().hex}"
        runs = await _runs(http, experiment)
        writers = _writers(http, runs, plan, ledger)
        reporters = _reporters(producer, experiment, runs, plan, ledger)
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            writing = [
                *(tasks.create_task(writer.run(ending)) for writer in writers),
                *(tasks.create_task(reporter.run(ending)) for reporter in reporters),
            ]
            killing = [tasks.create_task(_kill(stack, kill)) for kill in plan.kills]
            await asyncio.sleep(plan.seconds)
            await asyncio.gather(*killing)
            await _heal(stack)
            ending.set()
            await asyncio.wait_for(asyncio.gather(*writing), _ENDING_SECONDS)
        reports = [write for reporter in reporters for write in reporter.last.values()]
        await arrived(http, reports, seconds=_ARRIVAL_SECONDS)
        judgement = await judge(http, stack.backends.admin_url(), ledger)
    return Verdict(plan=plan, ledger=ledger, judgement=judgement, seconds=time.monotonic() - began)


async def _runs(http: httpx.AsyncClient, experiment: str) -> list[str]:
    """One run of all, then one for each who writes or reports."""
    made = (await http.post(f"{API}/experiments/create", json={"name": experiment})).json()
    runs = [
        (await http.post(f"{API}/runs/create", json={**made, "start_time": number})).json()
        for number in range(1 + _WRITERS + _REPORTERS)
    ]
    return [str(run["run"]["info"]["run_id"]) for run in runs]


def _writers(
    http: httpx.AsyncClient, runs: Sequence[str], plan: Plan, ledger: Ledger
) -> list[Writer]:
    return [
        Writer(
            name=f"w{number}",
            http=http,
            run_ids=(runs[0], mine),
            random=Random(f"{plan.seed} {number}"),
            ledger=ledger,
        )
        for number, mine in enumerate(runs[1 : 1 + _WRITERS])
    ]


def _reporters(
    producer: EventProducer, experiment: str, runs: Sequence[str], plan: Plan, ledger: Ledger
) -> list[Reporter]:
    return [
        Reporter(
            name=f"r{number}",
            producer=producer,
            experiment=experiment,
            run_ids=(runs[0], mine),
            random=Random(f"{plan.seed} reporter {number}"),
            ledger=ledger,
        )
        for number, mine in enumerate(runs[1 + _WRITERS :])
    ]


async def _kill(stack: Stack, kill: Kill) -> None:
    """The database dies with all its processes; who is dead already is left alone."""
    await asyncio.sleep(kill.at)
    victim = stack.process(kill.victim)
    if not victim.running:
        return
    family = identity.tree(victim.pid) if kill.victim == "postgres" else []
    victim.kill()
    for member in family:
        identity.send(member, signal.SIGKILL)


async def _heal(stack: Stack) -> None:
    """Their supervisors started them again: wait until all of them are ready."""
    for name in VICTIMS:
        process: SupervisedProcess = stack.process(name)
        await asyncio.to_thread(process.wait_ready, _READY_SECONDS)
