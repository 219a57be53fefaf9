"""Monitoring's handlers on real PostgreSQL and S3, fed directly; and streams to feed them with."""

from __future__ import annotations

import itertools
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events import (
    Envelope,
    FileRef,
    LabelledDataWritten,
    LabelObserved,
    ModelDeployed,
    PredictionLogged,
    contract_of,
)
from headrace.events.contracts import Data, decode_data
from headrace.ids import new_id
from headrace.profiles import TrainingProfile
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor
from headrace.runtime import db
from headrace.runtime.blobs import Blobs, digest_of
from headrace.runtime.bus import Event, Tx
from headrace.runtime.telemetry import configure_logs
from services.monitoring import handlers
from services.monitoring.domain import MonitorConfig
from services.monitoring.event_time import Calendar, microseconds
from services.monitoring.handlers import Context

EventT = TypeVar("EventT")
BEGIN = datetime(2013, 2, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64


@dataclass(kw_only=True)
class HandClock:
    """A clock that a test sets."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def now_ms(self) -> int:
        return int(self.time.timestamp() * 1000)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Monitoring without a broker: batches in, outgoing events out, one transaction each."""

    pool: asyncpg.Pool
    blobs: Blobs
    context: Context
    clock: HandClock
    told: list[Any] = field(default_factory=list, repr=False)
    refused: list[str] = field(default_factory=list)
    _offsets: itertools.count[int] = field(default_factory=itertools.count)

    async def predictions(self, *batches: PredictionLogged) -> list[Any]:
        events = [self._event(batch) for batch in batches]
        return await self._run(handlers.on_predictions_logged, events)

    async def labels(self, *labels: LabelObserved) -> list[Any]:
        events = [self._event(label) for label in labels]
        return await self._run(handlers.on_labels_observed, events)

    async def deployed(self, deployment: ModelDeployed) -> list[Any]:
        return await self._run(handlers.on_model_deployed, self._event(deployment))

    async def model(self, name: str) -> asyncpg.Record:
        row = await self.pool.fetchrow("select * from monitored_model where model=$1", name)
        assert row is not None
        return row

    async def closed(self, name: str) -> list[dict[str, Any]]:
        rows = await self.pool.fetch(
            "select closed_day.* from closed_day join monitored_model using (model_id)"
            " where model=$1 order by day, version",
            name,
        )
        return [{k: v for k, v in row.items() if k != "model_id"} for row in rows]

    async def segments(self, name: str) -> list[tuple[int, str, int]]:
        rows = await self.pool.fetch(
            "select day, digest, row_count from segment join monitored_model using (model_id)"
            " where model=$1 order by day, digest",
            name,
        )
        return [tuple(row) for row in rows]

    async def table(self, written: LabelledDataWritten) -> pa.Table:
        """All segments of one event, each checked against its digest."""
        tables = [
            pq.read_table(
                pa.BufferReader(await self.blobs.get_verified(segment.uri, segment.digest))
            )
            for segment in written.segments
        ]
        return pa.concat_tables(tables)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Everything told so far of one kind."""
        return [data for data in self.told if isinstance(data, kind)]

    async def _run(self, handler: Any, events: Any) -> list[Any]:
        async with self.pool.acquire() as connection, connection.transaction():
            tx = Tx(connection=connection, caller=None)
            await handler(self.context, events, tx)
        told = [decode_data(out.type, out.payload or b"") for out in tx.outgoing]
        self.told.extend(told)
        self.refused.extend(str(error) for _, error in tx.refused)
        return told

    def _event(self, data: Data) -> Event[Any]:
        contract = contract_of(data)
        envelope = Envelope(id=new_id(), source="/test", type=contract.type, time=datetime.now(UTC))
        return Event(
            data=data,
            envelope=envelope,
            topic=contract.topic.name,
            partition=0,
            offset=next(self._offsets),
        )


@asynccontextmanager
async def desk(
    database: TestDatabase,
    bucket: TestBucket,
    *,
    calendar: Calendar | None = None,
    config: MonitorConfig | None = None,
    idle_after: timedelta = timedelta(hours=1),
    max_unseen_models: int = 1000,
) -> AsyncIterator[Desk]:
    """A desk in a migrated database."""
    pool = await db.open_pool(database.url("monitoring"), schema="monitoring", size=2)
    packages = (db.BUS_MIGRATIONS, "services.monitoring.migrations")
    await db.migrate(pool, schema="monitoring", packages=packages)
    async with Blobs.open(
        endpoint=bucket.endpoint,
        bucket=bucket.name,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    ) as blobs:
        clock = HandClock()
        context = Context(
            project="default",
            calendar=calendar or Calendar(),
            idle_after=idle_after,
            max_unseen_models=max_unseen_models,
            config=config or MonitorConfig(),
            blobs=blobs,
            clock=clock,
            started_at=clock.now(),
            log=configure_logs(service="monitoring", level="warning"),
        )
        yield Desk(pool=pool, blobs=blobs, context=context, clock=clock)
    await pool.close()


def at(hours: float) -> datetime:
    """Event time, hours after the beginning."""
    return BEGIN + timedelta(hours=hours)


def batch(
    model: str,
    rows: Sequence[tuple[str, datetime]],
    *,
    version: int = 1,
    scores: Sequence[float] | None = None,
    carrier: str = "AA",
    temp: Sequence[float] | None = None,
    rate: float = 1.0,
) -> PredictionLogged:
    """A micro-batch with one text and one number input: (prediction id, event time) a row."""
    count = len(rows)
    chosen = scores if scores is not None else [((7 * i) % 10) / 10 for i in range(count)]
    temps = temp if temp is not None else [float(i % 5) for i in range(count)]
    return PredictionLogged(
        project="default",
        model=model,
        version=version,
        prediction_ids=[name for name, _ in rows],
        event_times_us=[microseconds(time) for _, time in rows],
        inputs=[
            texts("carrier", [carrier] * count),
            Tensor(name="temp", datatype="FP32", shape=[count, 1], data=_floats(temps)),
        ],
        outputs=[Tensor(name="p", datatype="FP32", shape=[count, 1], data=_floats(chosen))],
        logged_at_us=0,
        sampling_rate=rate,
    )


def texts(name: str, values: Sequence[str]) -> Tensor:
    """A BYTES tensor [n, 1]."""
    parts = [value.encode() for value in values]
    data = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return Tensor(name=name, datatype="BYTES", shape=[len(values), 1], data=data)


def label(
    model: str, prediction_id: str, observed_at: datetime, value: float = 1.0
) -> LabelObserved:
    return LabelObserved(
        model=model, prediction_id=prediction_id, label=value, observed_at=observed_at
    )


def closing(model: str, day: int) -> tuple[PredictionLogged, LabelObserved]:
    """A prediction and a label that carry both streams past the end of a day (counted from 0)."""
    late = at(24 * (day + 1) + 7)
    name = f"closing-{day}"
    return batch(model, [(name, late)]), label(model, name, late + timedelta(minutes=1))


def drifting_day(
    model: str,
    day: int,
    *,
    version: int = 1,
    temp: float = 2.0,
    calibrated: bool = True,
    rows: int = 200,
) -> tuple[PredictionLogged, list[LabelObserved]]:
    """A day of traffic that looks like `profile`, unless told otherwise; labels 2 hours later."""
    draw = np.random.default_rng(day)
    scores = draw.beta(2, 5, rows)
    chance = scores if calibrated else 1 - scores
    truth = (draw.random(rows) < chance).astype(float).tolist()
    made = [(f"v{version}-{day}/{i}", at(24 * day + 8 + i / 60)) for i in range(rows)]
    logged = batch(
        model,
        made,
        version=version,
        scores=scores.tolist(),
        temp=draw.normal(temp, 1, rows).tolist(),
    )
    labels = [
        label(model, name, time + timedelta(hours=2), truth[i])
        for i, (name, time) in enumerate(made)
    ]
    return logged, labels


def profile(*, days: int = 30, rows: int = 200, seed: int = 1) -> TrainingProfile:
    """What the streams of `drifting_day` look like while nothing drifts."""
    random = np.random.default_rng(seed)
    count = days * rows
    scores = random.beta(2, 5, count)
    return TrainingProfile.of(
        columns={
            "carrier": np.array(["AA"] * count),
            "temp": random.normal(2, 1, count).astype(np.float32),
        },
        days=np.repeat(
            np.datetime64("2013-01-01") + np.arange(days).astype("timedelta64[D]"), rows
        ),
        scores=scores,
        labels=(random.random(count) < scores).astype(np.float64),
    )


async def deployment(
    desk: Desk, model: str, version: int, trained: TrainingProfile | None
) -> ModelDeployed:
    """The event of a deployed version, its training profile stored."""
    files = []
    if trained is not None:
        data = trained.to_bytes()
        ref = await desk.blobs.put(f"artifacts/{model}/{version}/profile.json", data)
        files = [
            FileRef(path="model/profile.json", uri=ref.uri, digest=digest_of(data), size=len(data))
        ]
    return ModelDeployed(
        model=model,
        version=version,
        digest=DIGEST,
        files=files,
        deployed_at=datetime.now(UTC),
        load_ms=1,
        swap_ms=1,
    )


def _floats(values: Sequence[float]) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


__all__ = [
    "BEGIN",
    "Desk",
    "at",
    "batch",
    "closing",
    "deployment",
    "desk",
    "drifting_day",
    "label",
    "profile",
    "texts",
]
