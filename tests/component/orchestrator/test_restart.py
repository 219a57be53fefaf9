"""What an orchestrator knows when it is started again."""

from __future__ import annotations

from deploy.local.testing import TestBucket, TestDatabase
from tests.harness.bus import skip_history
from tests.harness.orchestrator import (
    LEASE_SECONDS,
    PLAN_NAME,
    FakeWorker,
    running,
)


async def test_runs_leases_and_workers_survive_a_restart(
    own_database: TestDatabase, own_bucket: TestBucket, kafka: str
) -> None:
    await skip_history(database=own_database, kafka=kafka, service="orchestrator")
    async with running(own_database, own_bucket, lease_seconds=LEASE_SECONDS) as before:
        worker = FakeWorker(orchestrator=before)
        await worker.hello()
        run_id = await before.start(PLAN_NAME)
        held = await worker.claim(wait_seconds=5)
    async with running(own_database, own_bucket, lease_seconds=LEASE_SECONDS) as after:
        worker.orchestrator = after
        assert await worker.beat(held) == [held["fence"]]
        assert (await worker.complete(held)).is_success
        second = await worker.claim(wait_seconds=5)
        assert (second["step"], second["run"]["run_id"]) == ("second", run_id)
        assert (await worker.complete(second)).is_success
        assert (await after.run(run_id))["state"] == "succeeded"
