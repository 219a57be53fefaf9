"""One orchestrator a module; each test leaves it with nothing to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local import Backends, provision
from deploy.local.testing import TestBucket, TestDatabase, create_database, drop_database
from headrace.ids import new_id
from headrace.runtime.blobs import Blobs
from tests.harness.bus import skip_history
from tests.harness.orchestrator import (
    LEASE_SECONDS,
    Ear,
    FakeWorker,
    Orchestrator,
    Worker,
    Workers,
    listening,
    running,
)


@pytest.fixture(scope="module")
async def own_database(backends: Backends) -> AsyncIterator[TestDatabase]:
    made = await create_database(backends)
    yield made
    await drop_database(made)


@pytest.fixture(scope="module")
def own_bucket(backends: Backends) -> TestBucket:
    name = f"test-{new_id()}"
    provision.bucket(backends, name)
    return TestBucket(
        name=name,
        endpoint=backends.s3_endpoint,
        access_key=backends.s3_access_key,
        secret_key=backends.s3_secret_key,
    )


@pytest.fixture(scope="module")
async def service(
    own_database: TestDatabase, own_bucket: TestBucket, kafka: str
) -> AsyncIterator[Orchestrator]:
    await skip_history(database=own_database, kafka=kafka, service="orchestrator")
    async with running(own_database, own_bucket, lease_seconds=LEASE_SECONDS) as started:
        yield started


@pytest.fixture
async def orchestrator(service: Orchestrator) -> AsyncIterator[Orchestrator]:
    """The module's orchestrator; what a test leaves unfinished is cancelled."""
    yield service
    for state in ("pending", "running"):
        for run in (await service.call("GET", f"/runs?state={state}"))["runs"]:
            await service.call("POST", f"/runs/{run['pipeline_run_id']}/cancel")


@pytest.fixture
def workers(
    orchestrator: Orchestrator, own_bucket: TestBucket, tmp_path: Path
) -> Iterator[Workers]:
    """Starts workers of the test's own."""
    made = Workers(url=orchestrator.url, bucket=own_bucket, directory=tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
async def one_worker(
    service: Orchestrator, own_bucket: TestBucket, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Worker]:
    made = Workers(url=service.url, bucket=own_bucket, directory=tmp_path_factory.mktemp("worker"))
    yield await made.ready()
    made.end()


@pytest.fixture
def working(orchestrator: Orchestrator, one_worker: Worker) -> Worker:
    """The module's worker, with nothing left to do for other tests."""
    _ = orchestrator
    return one_worker


@pytest.fixture
async def ear(kafka: str) -> AsyncIterator[Ear]:
    async with listening(kafka) as heard:
        yield heard


@pytest.fixture
async def worker(orchestrator: Orchestrator) -> FakeWorker:
    made = FakeWorker(orchestrator=orchestrator)
    await made.hello()
    return made


@pytest.fixture
async def blobs(own_bucket: TestBucket) -> AsyncIterator[Blobs]:
    async with Blobs.open(
        endpoint=own_bucket.endpoint,
        bucket=own_bucket.name,
        access_key=own_bucket.access_key,
        secret_key=own_bucket.secret_key,
    ) as opened:
        yield opened
