"""Real backends for every suite: one set for the session, isolation for each test.

- `backends`: addresses and credentials; shared by the workers of pytest-xdist.
- `database`: a fresh database with every service's login role and schema.
- `bucket`: a fresh bucket.
- `kafka`: host:port of the shared broker with the declared topics. Nothing is recreated, so a
  test reads from a topic's present end, or uses keys and topics of its own.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from deploy.local import Backends, provision
from deploy.local.testing import (
    TestBucket,
    TestDatabase,
    create_database,
    create_template,
    drop_database,
    shared_backends,
)

# Each process that a test starts would compile all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Backends]:
    """Running and provisioned Kafka, PostgreSQL and S3."""
    base = tmp_path_factory.getbasetemp()
    shared: Path = base if worker_id == "master" else base.parent
    with shared_backends(shared, lambda started: asyncio.run(create_template(started))) as running:
        yield running


@pytest.fixture
def database(backends: Backends) -> Iterator[TestDatabase]:
    """A database of this test alone."""
    made = asyncio.run(create_database(backends))
    yield made
    asyncio.run(drop_database(made))


@pytest.fixture
def bucket(backends: Backends) -> TestBucket:
    """A bucket of this test alone."""
    name = f"test-{uuid4().hex[:16]}"
    provision.bucket(backends, name)
    return TestBucket(
        name=name,
        endpoint=backends.s3_endpoint,
        access_key=backends.s3_access_key,
        secret_key=backends.s3_secret_key,
    )


@pytest.fixture(scope="session")
def kafka(backends: Backends) -> str:
    """The broker's address."""
    return backends.kafka
