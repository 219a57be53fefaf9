"""Claims, completions, repeats, losses and zombies in any order, on real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.errors import Conflict
from headrace.ids import new_id
from headrace.pipelines import Plan
from headrace.pipelines.plan import RetryPlan, Source, StepPlan
from headrace.runtime import db
from headrace.runtime.bus import Bus, open_bus
from headrace.runtime.telemetry import Metrics, configure_logs
from services.orchestrator import engine
from services.orchestrator.domain.engine import Outcome
from services.orchestrator.store import runs, tasks

PROJECT = "default"


def step(name: str, *upstream: str) -> StepPlan:
    return StepPlan(
        name=name,
        function=name,
        inputs={f"from_{other}": Source(step=other, output="result") for other in upstream},
        outputs={"result": "int"},
        retry=RetryPlan(attempts=3, backoff=0.0),
    )


STEPS = (step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))

OPERATIONS = some.lists(
    some.tuples(
        some.sampled_from(["claim", "claim", "succeed", "fail", "lose", "repeat", "release"]),
        some.integers(0, 7),
    ),
    max_size=25,
)


@dataclass(kw_only=True)
class World:
    """One run, and what workers believe of it."""

    bus: Bus
    pipeline: str
    run_id: str = field(default_factory=new_id)
    handed: list[engine.Started] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)

    async def begin(self) -> None:
        plan = Plan(name=self.pipeline, module="m", attribute="p", steps=STEPS)
        async with self.bus.transaction() as tx:
            await runs.put_pipeline(tx.connection, project=PROJECT, plan=plan)
            await runs.put_worker(
                tx.connection, project=PROJECT, name="w", session="s", environment={}
            )
            request = engine.RunRequest(
                project=PROJECT,
                pipeline=self.pipeline,
                parameters={},
                requested_by="test",
                correlation_id=self.run_id,
                causation_id=None,
                pipeline_run_id=self.run_id,
            )
            assert await engine.start_run(tx, request)

    async def claim(self) -> bool:
        async with self.bus.transaction() as tx:
            started = await engine.claim(
                tx,
                project=PROJECT,
                worker="w",
                session="s",
                pipelines=[self.pipeline],
                lease_seconds=60,
            )
        if started is None:
            return False
        for entry in started.inputs.values():
            assert entry["value"] in self.accepted.values(), "an input nobody committed"
        self.handed.append(started)
        return True

    async def end(self, place: int, outcome: Outcome) -> None:
        if not self.handed:
            return
        started = self.handed[place % len(self.handed)]
        output = {"result": {"kind": "json", "value": started.fence}}
        ended = engine.Ended(
            project=PROJECT,
            run_id=self.run_id,
            step=started.step,
            fence=started.fence,
            outcome=outcome,
            outputs=output if outcome is Outcome.SUCCEEDED else {},
            error=None if outcome is Outcome.SUCCEEDED else "x",
        )
        try:
            async with self.bus.transaction() as tx:
                await engine.end_attempt(tx, ended)
                task = await tasks.task_of(
                    tx.connection, project=PROJECT, run_id=self.run_id, step=started.step
                )
        except Conflict:
            return
        if outcome is Outcome.SUCCEEDED and task is not None and task.state == "succeeded":
            before = self.accepted.setdefault(started.step, task.outputs["result"]["value"])
            assert before == task.outputs["result"]["value"], "a committed output changed"

    async def drain(self) -> None:
        for place in range(len(self.handed)):
            await self.end(place, Outcome.SUCCEEDED)
        while await self.claim():
            await self.end(len(self.handed) - 1, Outcome.SUCCEEDED)

    async def check(self, pool: Any) -> None:
        run = await runs.run_document(pool, project=PROJECT, run_id=self.run_id)
        assert run is not None
        states = {entry["step"]: entry["state"] for entry in run["steps"]}
        attempts = await tasks.attempts(pool, project=PROJECT, run_id=self.run_id)
        for name, state in states.items():
            mine = [entry for entry in attempts if entry["step"] == name]
            succeeded = [entry for entry in mine if entry["outcome"] == "succeeded"]
            assert len(succeeded) == (1 if state == "succeeded" else 0)
            assert [entry["attempt"] for entry in mine] == list(range(1, len(mine) + 1))
            assert sum(entry["outcome"] is None for entry in mine) <= 1
        assert run["state"] in ("succeeded", "failed")
        assert (run["state"] == "succeeded") == (set(states.values()) == {"succeeded"})
        assert not {"pending", "ready", "running"} & set(states.values())


@pytest.fixture(scope="module")
async def bus(backends: Backends) -> AsyncIterator[tuple[Bus, Any]]:
    database = await create_database(backends)
    url = database.url("orchestrator")
    pool = await db.open_pool(url, schema="orchestrator", size=2)
    packages = (db.BUS_MIGRATIONS, "services.orchestrator.migrations")
    await db.migrate(pool, schema="orchestrator", packages=packages)
    yield (
        open_bus(
            service="orchestrator",
            instance=0,
            kafka=backends.kafka,
            database_url=url,
            pool=pool,
            metrics=Metrics(),
            log=configure_logs(service="orchestrator", level="warning"),
        ),
        pool,
    )
    await pool.close()
    await drop_database(database)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=OPERATIONS)
async def test_every_step_commits_once_whatever_workers_do(
    bus: tuple[Bus, Any], operations: list[tuple[str, int]]
) -> None:
    outcomes = {
        "succeed": Outcome.SUCCEEDED,
        "repeat": Outcome.SUCCEEDED,
        "fail": Outcome.FAILED,
        "lose": Outcome.LOST,
        "release": Outcome.RELEASED,
    }
    world = World(bus=bus[0], pipeline=f"p-{new_id()}")
    await world.begin()
    for name, place in operations:
        if name == "claim":
            await world.claim()
        else:
            await world.end(place, outcomes[name])
    await world.drain()
    await world.check(bus[1])
