"""Governance: datasets, their versions, uploads."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from headrace.errors import InvalidInput, NotFound
from services.registry.api.bodies import DatasetName, Named, UploadBody
from services.registry.api.champions import correlation_of
from services.registry.api.context import PREFIX, Context
from services.registry.api.documents import dataset_document
from services.registry.domain.datasets import check_upload
from services.registry.store import dataset_versions, datasets
from services.registry.store.dataset_versions import Arriving

_NAME: TypeAdapter[str] = TypeAdapter(DatasetName)


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=PREFIX, tags=["datasets"])
    _add_reads(routes, context)
    _add_upload(routes, context)
    return routes


def _add_reads(routes: APIRouter, context: Context) -> None:
    @routes.get("/datasets")
    async def all_datasets() -> dict[str, Any]:
        async with context.reading() as connection:
            found = await datasets.every(connection, project=context.project)
        return {"datasets": [dataset_document(version) for version in found]}

    @routes.get("/datasets/{name}")
    async def one_dataset(
        name: Named, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> dict[str, Any]:
        async with context.reading() as connection:
            latest = await datasets.get(
                connection, project=context.project, name=name, version=None
            )
            found = await datasets.versions(
                connection, project=context.project, name=name, limit=limit
            )
        return {
            **dataset_document(latest),
            "versions": [dataset_document(version) for version in found],
        }

    @routes.get("/datasets/{name}/versions/{number}")
    async def one_version(name: Named, number: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            version = await datasets.get(
                connection, project=context.project, name=name, version=_number(name, number)
            )
            segments = await datasets.segments(
                connection, project=context.project, name=name, version=version.version
            )
        return dataset_document(version, segments)


def _add_upload(routes: APIRouter, context: Context) -> None:
    @routes.post("/datasets/{name}/versions")
    async def upload(name: Named, body: UploadBody, request: Request) -> dict[str, Any]:
        check_upload(body.segments)
        _check_name(name)
        await asyncio.gather(
            *(
                context.sources.check_segment(segment, field=f"segments.{place}.uri")
                for place, segment in enumerate(body.segments)
            )
        )
        async with context.writing(request) as tx:
            arriving = Arriving(
                project=context.project,
                dataset=name,
                origin="upload",
                model=body.model,
                segments=body.segments,
                labelled_through=body.labelled_through,
                correlation_id=correlation_of(tx),
            )
            version, made = await dataset_versions.upload(
                tx.connection, arriving, now=context.now()
            )
            if made:
                tx.emit(version.as_event(), event_id=version.event_id)
        return dataset_document(version)


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise InvalidInput(
            f"dataset name {name!r}: expected 1 to 250 letters, digits, '_', '-' or '.'",
            field="name",
        ) from None


def _number(name: str, text: str) -> int | None:
    if text == "latest":
        return None
    if not text.isdigit() or len(text) > 9:
        raise NotFound(f"dataset {name} does not have version {text}: expected a number or latest")
    return int(text)
