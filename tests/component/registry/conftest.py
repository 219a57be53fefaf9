"""The registry over real PostgreSQL and S3; what it would publish is read from its outbox."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, cast

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from deploy.local import Backends
from deploy.local.testing import create_database, drop_database
from headrace.events import ConversionFinished, Envelope, EventData, Segment
from headrace.events.contracts import Data, by_type, contract_of
from headrace.ids import new_id
from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Caller, Event, open_bus
from headrace.runtime.clock import SystemClock
from headrace.runtime.service import Resources, Service
from headrace.runtime.service.http import application
from headrace.runtime.telemetry import Metrics, configure_logs
from services.registry.api.conversions import on_conversion_finished
from services.registry.app import build
from services.registry.handlers import HANDLERS
from services.registry.settings import Settings
from tests.harness.receiver import serving

API = "/api/registry/v1"
MLFLOW = "/api/2.0/mlflow"
_HANDLERS: Mapping[type[Any], Any] = {**HANDLERS, ConversionFinished: on_conversion_finished}
MORNING = datetime(2013, 2, 1, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Published:
    """One event as it stands in the outbox; without data it is a tombstone."""

    name: str
    data: Any
    id: str
    key: str
    correlation_id: str
    causation_id: str | None


@dataclass(frozen=True)
class Registry:
    """A running registry without its consumers and its relay."""

    service: Service[Settings]
    app: Starlette
    http: httpx.AsyncClient
    resources: Resources[Settings]

    @property
    def pool(self) -> asyncpg.Pool:
        return self.resources.pool

    @property
    def project(self) -> str:
        return self.resources.settings.project

    @property
    def blobs(self) -> Blobs:
        return self.resources.blobs

    async def events(self, *names: str) -> list[Published]:
        """What was emitted, in order; only those called `names` if any are given."""
        rows = await self.pool.fetch("select * from outbox order by seq")
        found = [_published(row) for row in rows]
        return [
            event
            for event in found
            if _project(event) == self.project and (not names or event.name in names)
        ]

    async def handle(self, data: EventData, *, correlation_id: str | None = None) -> Event[Any]:
        """Let the handler of an event have it, in a transaction as the bus gives."""
        mine = data.model_copy(update={"project": self.project})
        event = arriving(mine, correlation_id=correlation_id)
        async with self.resources.bus.transaction(Caller.by(event)) as tx:
            await _HANDLERS[type(data)](event, tx)
        return event

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """JSON of a successful call; an AssertionError shows what was answered instead."""
        response = await self.answer(method, path, body, **headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def answer(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=names)

    async def model(self, name: str) -> None:
        await self.call("POST", f"{MLFLOW}/registered-models/create", {"name": name})

    async def version(self, name: str, *, tags: Mapping[str, str] | None = None) -> int:
        """A verified version with one file."""
        prefix = f"1/models/{new_id()}/artifacts"
        await self.blobs.put(f"artifacts/{prefix}/model.onnx", new_id().encode())
        made = await self.call(
            "POST",
            f"{MLFLOW}/model-versions/create",
            {
                "name": name,
                "source": f"mlflow-artifacts:/{prefix}",
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            },
        )
        return int(made["model_version"]["version"])

    async def promote(self, name: str, version: int, **fields: Any) -> Any:
        body = {"requested_by": "trainer", **fields}
        path = f"{API}/models/{name}/versions/{version}/promotion-requests"
        return await self.call("POST", path, body)

    async def champion(self, name: str) -> int | None:
        response = await self.answer("GET", f"{API}/models/{name}/champion")
        return int(response.json()["version"]) if response.status_code == 200 else None

    async def segment(self, *, rows: int = 100, day: int = 0) -> Segment:
        """A stored segment of one day."""
        content = new_id().encode()
        stored = await self.blobs.put(f"labelled/{new_id()}.parquet", content)
        begin = MORNING + timedelta(days=day)
        return Segment(
            uri=stored.uri,
            digest=stored.digest,
            size=stored.size,
            rows=rows,
            first_event_time=begin,
            last_event_time=begin + timedelta(hours=12),
            observed_through=begin + timedelta(hours=18),
        )

    async def dataset(self, name: str, *, rows: int = 100) -> Any:
        """A dataset version of one uploaded segment."""
        segment = await self.segment(rows=rows)
        return await self.call(
            "POST",
            f"{API}/datasets/{name}/versions",
            {"segments": [segment.model_dump(mode="json")]},
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The registry behind a real socket; yields its URL."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with serving(self.app, port=port):
            yield f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The registry with what it does in the background."""
        assert self.service.background is not None
        tasks = [asyncio.ensure_future(work()) for work in self.service.background(self.resources)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def arriving(data: Data, *, correlation_id: str | None = None) -> Event[Any]:
    """An event as the bus would hand it to a handler."""
    contract = contract_of(data)
    envelope = Envelope(
        id=new_id(),
        source="/test",
        type=contract.type,
        time=datetime.now(UTC),
        correlation_id=correlation_id,
    )
    return Event(data=data, envelope=envelope, topic=contract.topic.name, partition=0, offset=0)


def evidence(dataset: Any, *, champion: int | None, **changes: Any) -> dict[str, Any]:
    """Evidence that passes against `champion` on a dataset version."""
    return {
        "dataset": dataset["dataset"],
        "dataset_version": dataset["version"],
        "dataset_digest": dataset["digest"],
        "rows": dataset["rows"],
        "champion_version": champion,
        "metrics": [
            {"metric": "auc", "champion": 0.65, "challenger": 0.70, "higher_is_better": True},
            {"metric": "log_loss", "champion": 0.53, "challenger": 0.50, "higher_is_better": False},
        ],
        "passed": True,
        "reasons": [],
        **changes,
    }


@pytest.fixture(scope="session")
async def shared(backends: Backends) -> AsyncIterator[Resources[Settings]]:
    """A migrated database, a bucket and a bus for all tests; each test has its own project."""
    database = await create_database(backends)
    settings = Settings(
        http_port=0,
        kafka=backends.kafka,
        database_url=SecretStr(database.url("registry")),
        s3_endpoint=backends.s3_endpoint,
        s3_bucket=backends.s3_bucket,
        s3_access_key=backends.s3_access_key,
        s3_secret_key=SecretStr(backends.s3_secret_key),
        tracking_url="http://127.0.0.1:9",
        webhook_networks=(ip_network("127.0.0.0/8"),),
    )
    log = configure_logs(service="registry", level="warning")
    metrics = Metrics()
    pool = await db.open_pool(database.url("registry"), schema="registry")
    packages = (db.BUS_MIGRATIONS, "services.registry.migrations")
    await db.migrate(pool, schema="registry", packages=packages)
    bus = open_bus(
        service="registry",
        instance=0,
        kafka=backends.kafka,
        database_url=database.url("registry"),
        pool=pool,
        metrics=metrics,
        log=log,
    )
    async with Blobs.open(
        endpoint=backends.s3_endpoint,
        bucket=backends.s3_bucket,
        access_key=backends.s3_access_key,
        secret_key=backends.s3_secret_key,
    ) as blobs:
        yield Resources(
            settings=settings,
            clock=SystemClock(),
            log=log,
            metrics=metrics,
            maybe_pool=pool,
            maybe_bus=bus,
            maybe_blobs=blobs,
        )
    pool.terminate()
    await drop_database(database)


@pytest.fixture
async def registry(shared: Resources[Settings]) -> AsyncIterator[Registry]:
    settings = shared.settings.model_copy(update={"project": f"project-{new_id()}"})
    resources = replace(shared, settings=settings, metrics=Metrics())
    service = build(settings)
    app = application(cast("Any", service), cast("Any", resources), tails=[])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as http:
        yield Registry(service=service, app=app, http=http, resources=resources)


def _published(row: asyncpg.Record) -> Published:
    contract = by_type()[row["type"]]
    headers = row["headers"]
    return Published(
        name=contract.name,
        data=None if row["payload"] is None else contract.decode(row["payload"]),
        id=str(row["id"]),
        key=row["aggregateid"],
        correlation_id=headers["ce_correlationid"],
        causation_id=headers.get("ce_causationid"),
    )


def _project(event: Published) -> str:
    return str(event.data.project) if event.data else event.key.split("/")[0]
