"""What a person can do about a service's records in trouble, over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from headrace.runtime.bus.deadletter_reading import DeadLetter
from headrace.runtime.bus.postgres import Postgres
from headrace.runtime.bus.recovery import Recovery
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.settings import ServiceSettings

Limit = Annotated[int, Query(ge=1, le=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    group: str = Field(min_length=1, max_length=250)
    topic: str = Field(min_length=1, max_length=250)


class ParkedRecord(_Body):
    """The first record of a parked key, by its place in the log."""

    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class SkippedRecord(ParkedRecord):
    """A parked record that somebody gives up."""

    by: str = Field(min_length=1, max_length=250)


class Redrive(_Body):
    """Dead letters to be handled again; without an offset all of them."""

    offset: int | None = Field(default=None, ge=0)
    by: str = Field(min_length=1, max_length=250)


def router(service: Service[Any], resources: Resources[Any]) -> APIRouter:
    """`/api/<service>/v1/bus`: parked records and dead letters."""
    recovery = _recovery(service, resources)
    made = APIRouter(prefix=f"/api/{service.name}/v1/bus", tags=["bus"])

    @made.get("/parked")
    async def parked() -> dict[str, Any]:
        return {"parked": [asdict(key) for key in await recovery.parked()]}

    @made.post("/parked/retry")
    async def retry(which: ParkedRecord) -> dict[str, Any]:
        await recovery.retry(**which.model_dump())
        return {"retried": 1}

    @made.post("/parked/skip")
    async def skip(which: SkippedRecord) -> dict[str, Any]:
        await recovery.skip(**which.model_dump())
        resources.bus.wake()
        return {"skipped": 1}

    @made.get("/dead-letters")
    async def dead_letters(group: str, topic: str, limit: Limit = 200) -> dict[str, Any]:
        found = await recovery.dead_letters(group=group, topic=topic, limit=limit)
        return {"dead_letters": [_shown(letter) for letter in found]}

    @made.post("/dead-letters/redrive")
    async def redrive(which: Redrive) -> dict[str, Any]:
        return asdict(await recovery.redrive(**which.model_dump()))

    return made


def _recovery(service: Service[Any], resources: Resources[Any]) -> Recovery:
    settings = cast("ServiceSettings", resources.settings)
    url = settings.database_url.get_secret_value()
    database = Postgres(pool=resources.pool, url=url, service=service.name)
    return Recovery(
        service=service.name,
        kafka=settings.kafka,
        pool=resources.pool,
        database=database,
        metrics=resources.metrics,
        foreign=service.foreign_groups(settings) if service.foreign_groups else {},
    )


def _shown(letter: DeadLetter) -> dict[str, Any]:
    names = ("original_topic", "original_partition", "original_offset", "original_id")
    reasons = ("error_type", "error_message", "attempts", "first_failed_at")
    record = letter.record
    return {
        "offset": letter.offset,
        "key": (record.key or b"").decode(errors="replace"),
        "type": letter.header("ce_type"),
        "value": (record.value or b"").decode(errors="replace")[:2000],
        **{name: letter.header(f"dlt_{name}") for name in (*names, *reasons)},
    }
