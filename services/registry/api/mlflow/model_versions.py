"""`model-versions/*`: versions, their tags and stages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from headrace.errors import InvalidInput
from headrace.runtime.db import Connection
from services.registry.api.announcing import announce
from services.registry.api.context import Context
from services.registry.api.mlflow.arguments import Arguments
from services.registry.api.mlflow.documents import version_document
from services.registry.api.mlflow.errors import CLIENT, MlflowRoute
from services.registry.api.versions import create_version, delete_version
from services.registry.domain import announcements, filters, names, search
from services.registry.domain.records import Content, Model, NewVersion, Version
from services.registry.domain.sources import Claims
from services.registry.store import models, versions
from services.registry.store import search as searching


def router(context: Context, *, prefix: str) -> APIRouter:
    routes = APIRouter(
        prefix=f"{prefix}/model-versions", route_class=MlflowRoute, include_in_schema=False
    )
    _add_create(routes, context)
    _add_changes(routes, context)
    _add_reads(routes, context)
    _add_tags(routes, context)
    return routes


def _add_create(routes: APIRouter, context: Context) -> None:
    @routes.post("/create")
    async def create(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        source = given.required("source")
        tags = given.tags()
        names.check_tags(tags)
        async with context.reading() as connection:
            await models.get(connection, project=context.project, name=name)
        found = await _found(context, source, given, tags)
        new = NewVersion(
            model=name,
            source=found.source or source,
            content=Content(
                location=found.location,
                run_id=given.text("run_id") or found.run_id,
                logged_model_id=given.text("model_id") or found.logged_model_id,
                digest=found.digest,
                files=found.files,
            ),
            run_link=given.text("run_link"),
            description=given.text("description"),
            tags=tags,
        )
        async with context.writing(request) as tx:
            version = await create_version(tx, project=context.project, new=new, now=context.now())
        return {"model_version": version_document(version, with_aliases=True)}


async def _found(context: Context, source: str, given: Arguments, tags: dict[str, str]) -> Content:
    if search.is_prompt(tags):
        names.check_prompt_source(source)
        return Content(location=source)
    claims = Claims(
        run_id=given.text("run_id") if given.has("run_id") else None,
        model_id=given.text("model_id") if given.has("model_id") else None,
    )
    return await context.sources.resolve(source, claims)


def _add_changes(routes: APIRouter, context: Context) -> None:
    @routes.patch("/update")
    async def update(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        description = given.text("description") if given.has("description") else None
        async with context.writing(request) as tx:
            version = await _lock(context, tx.connection, given)
            await versions.describe(
                tx.connection, version=version, description=description, now=context.now()
            )
            return await _document(context, tx.connection, version)

    @routes.post("/transition-stage")
    async def transition_stage(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        stage = names.canonical_stage(given.required("stage"))
        archive = given.flag("archive_existing_versions")
        if archive and stage not in names.ACTIVE_STAGES:
            raise InvalidInput(
                "Model version transition cannot archive existing model versions because "
                f"'{stage}' is not an Active stage. Valid stages are {list(names.ACTIVE_STAGES)}",
                field="archive_existing_versions",
            )
        now = context.now()
        async with context.writing(request) as tx:
            version = await _lock(context, tx.connection, given)
            await versions.set_stage(
                tx.connection, version=version, stage=stage, archive_others=archive, now=now
            )
            model = await models.get(tx.connection, project=context.project, name=version.model)
            await models.touch(tx.connection, model=model, now=now)
            return await _document(context, tx.connection, version)

    @routes.delete("/delete")
    async def delete(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.writing(request) as tx:
            version = await _lock(context, tx.connection, given)
            await delete_version(tx, version=version, actor=CLIENT, now=context.now())
        return {}


def _add_reads(routes: APIRouter, context: Context) -> None:
    @routes.get("/get")
    async def get(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.reading() as connection:
            version = await _get(context, connection, given)
        return {"model_version": version_document(version, with_aliases=True)}

    @routes.get("/get-download-uri")
    async def download_uri(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.reading() as connection:
            version = await _get(context, connection, given)
        return {"artifact_uri": version.location or version.source}

    @routes.get("/search")
    async def find(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        limit = given.number("max_results", default=10_000, most=200_000)
        offset = search.page_offset(given.text("page_token"))
        async with context.reading() as connection:
            found = await searching.search_versions(
                connection,
                project=context.project,
                clauses=filters.parse_filter(given.text("filter"), search.VERSIONS),
                orders=search.parse_order(given.texts("order_by"), search.VERSIONS),
                limit=limit + 1,
                offset=offset,
            )
        documents = [version_document(version, with_aliases=False) for version in found[:limit]]
        answer: dict[str, Any] = {"model_versions": documents} if documents else {}
        if len(found) > limit:
            answer["next_page_token"] = search.page_token(offset + limit)
        return answer


def _add_tags(routes: APIRouter, context: Context) -> None:
    @routes.post("/set-tag")
    async def set_tag(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        key, value = given.required("key"), given.text("value")
        names.check_tags({key: value})
        async with context.writing(request) as tx:
            version, model = await _lock_both(context, tx.connection, given)
            await versions.set_tag(tx.connection, version=version, key=key, value=value)
            told = announcements.version_tag_set(model, version.version, key, value)
            await announce(tx, told, project=context.project, now=context.now())
        return {}

    @routes.delete("/delete-tag")
    async def delete_tag(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        key = given.required("key")
        names.check_tag_key(key)
        async with context.writing(request) as tx:
            version, model = await _lock_both(context, tx.connection, given)
            if await versions.delete_tag(tx.connection, version=version, key=key):
                told = announcements.version_tag_deleted(model, version.version, key)
                await announce(tx, told, project=context.project, now=context.now())
        return {}


async def _get(context: Context, connection: Connection, given: Arguments) -> Version:
    name = names.check_model_name(given.required("name"))
    number = names.version_number(given.required("version"))
    return await versions.get(connection, project=context.project, name=name, version=number)


async def _lock(context: Context, connection: Connection, given: Arguments) -> Version:
    """The version, with its model locked. An unknown model is reported as MLflow does."""
    version, _ = await _lock_both(context, connection, given)
    return version


async def _lock_both(
    context: Context, connection: Connection, given: Arguments
) -> tuple[Version, Model]:
    version = await _get(context, connection, given)
    model = await models.lock(connection, project=context.project, name=version.model)
    return await _get(context, connection, given), model


async def _document(context: Context, connection: Connection, version: Version) -> dict[str, Any]:
    fresh = await versions.get(
        connection, project=context.project, name=version.model, version=version.version
    )
    return {"model_version": version_document(fresh, with_aliases=True)}
