"""`registered-models/*`: models, their tags and aliases."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.bus import Tx
from headrace.runtime.db import Connection
from services.registry.api import alias_states, champions
from services.registry.api import aliases as alias_calls
from services.registry.api.announcing import announce
from services.registry.api.context import Context
from services.registry.api.mlflow.arguments import Arguments
from services.registry.api.mlflow.documents import model_document, version_document
from services.registry.api.mlflow.errors import CLIENT, MlflowRoute
from services.registry.domain import announcements, filters, names, search
from services.registry.domain.records import Model, Version
from services.registry.domain.webhooks import Announcement
from services.registry.store import aliases, models, versions
from services.registry.store import search as searching


def router(context: Context, *, prefix: str) -> APIRouter:
    routes = APIRouter(
        prefix=f"{prefix}/registered-models", route_class=MlflowRoute, include_in_schema=False
    )
    _add_models(routes, context)
    _add_reads(routes, context)
    _add_tags(routes, context)
    _add_aliases(routes, context)
    return routes


def _add_models(routes: APIRouter, context: Context) -> None:
    @routes.post("/create")
    async def create(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        tags = given.tags()
        names.check_tags(tags)
        async with context.writing(request) as tx:
            model = await models.create(
                tx.connection,
                project=context.project,
                name=name,
                description=given.text("description"),
                tags=tags,
                now=context.now(),
            )
            await _announce(context, tx, announcements.model_created(model))
        return {"registered_model": model_document(model, [])}

    @routes.post("/rename")
    async def rename(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        new_name = names.check_model_name(given.required("new_name"), field="new_name")
        async with context.writing(request) as tx:
            model = await _lock(context, tx.connection, given)
            if names.CHAMPION in model.aliases:
                raise champions.champion_stays(model.name, "it cannot be renamed")
            await models.rename(tx.connection, model=model, new_name=new_name, now=context.now())
            renamed = await models.get(tx.connection, project=context.project, name=new_name)
            for alias in model.aliases:
                alias_states.tell_gone(tx, model=model, alias=alias)
                await alias_states.tell(tx, model=renamed, alias=alias)
            return {"registered_model": await _document(context, tx.connection, new_name)}

    @routes.patch("/update")
    async def update(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.writing(request) as tx:
            model = await _lock(context, tx.connection, given)
            await models.describe(
                tx.connection,
                model=model,
                description=given.text("description"),
                now=context.now(),
            )
            return {"registered_model": await _document(context, tx.connection, model.name)}

    @routes.delete("/delete")
    async def delete(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        async with context.writing(request) as tx:
            model = await _lock(context, tx.connection, given)
            if names.CHAMPION in model.aliases:
                raise champions.champion_stays(model.name, "it cannot be deleted")
            now = context.now()
            await champions.close_waiting(tx, model=model, reason="the model was deleted", now=now)
            for alias in model.aliases:
                alias_states.tell_gone(tx, model=model, alias=alias)
            await models.delete(tx.connection, model=model, now=now)
        return {}


def _add_reads(routes: APIRouter, context: Context) -> None:
    @routes.get("/get")
    async def get(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        async with context.reading() as connection:
            return {"registered_model": await _document(context, connection, name)}

    @routes.get("/search")
    async def find(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        limit = given.number("max_results", default=100, most=1000)
        offset = search.page_offset(given.text("page_token"))
        async with context.reading() as connection:
            found = await searching.search_models(
                connection,
                project=context.project,
                clauses=filters.parse_filter(given.text("filter"), search.MODELS),
                orders=search.parse_order(given.texts("order_by"), search.MODELS),
                limit=limit + 1,
                offset=offset,
            )
            latest = await _latest(connection, found[:limit])
        answer: dict[str, Any] = {
            "registered_models": [
                model_document(model, latest.get(model.id, [])) for model in found[:limit]
            ]
        }
        return _paged(answer, "registered_models", more=len(found) > limit, after=offset + limit)

    @routes.api_route("/get-latest-versions", methods=["GET", "POST"])
    async def latest_versions(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        stages = [names.canonical_stage(stage) for stage in given.texts("stages")]
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            found = await versions.latest(
                connection, model_ids=[model.id], stages=stages or names.STAGES
            )
        documents = [version_document(version, with_aliases=True) for version in found]
        return {"model_versions": documents} if documents else {}


def _add_tags(routes: APIRouter, context: Context) -> None:
    @routes.post("/set-tag")
    async def set_tag(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        key, value = given.required("key"), given.text("value")
        names.check_tags({key: value})
        async with context.writing(request) as tx:
            model = await _lock(context, tx.connection, given)
            await models.set_tag(tx.connection, model=model, key=key, value=value)
            await _announce(context, tx, announcements.model_tag_set(model, key, value))
        return {}

    @routes.delete("/delete-tag")
    async def delete_tag(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        key = given.required("key")
        names.check_tag_key(key)
        async with context.writing(request) as tx:
            model = await _lock(context, tx.connection, given)
            if await models.delete_tag(tx.connection, model=model, key=key):
                await _announce(context, tx, announcements.model_tag_deleted(model, key))
        return {}


def _add_aliases(routes: APIRouter, context: Context) -> None:
    @routes.post("/alias")
    async def set_alias(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        alias = names.check_settable_alias(given.required("alias"))
        version = names.version_number(given.required("version"))
        async with context.writing(request) as tx:
            await alias_calls.set_alias(
                tx,
                project=context.project,
                name=name,
                alias=alias,
                version=version,
                actor=CLIENT,
                now=context.now(),
            )
        return {}

    @routes.delete("/alias")
    async def delete_alias(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        alias = names.check_alias(given.required("alias"))
        async with context.writing(request) as tx:
            await alias_calls.delete_alias(
                tx,
                project=context.project,
                name=name,
                alias=alias,
                actor=CLIENT,
                now=context.now(),
            )
        return {}

    @routes.get("/alias")
    async def get_alias(request: Request) -> dict[str, Any]:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        alias = names.check_alias(given.required("alias"))
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            version = await _holder(context, connection, model, alias)
        return {"model_version": version_document(version, with_aliases=True)}


async def _announce(context: Context, tx: Tx, announcement: Announcement | None) -> None:
    await announce(tx, announcement, project=context.project, now=context.now())


async def _holder(context: Context, connection: Connection, model: Model, alias: str) -> Version:
    if alias.lower() == "latest":
        newest = await versions.of_model(connection, model=model, limit=1)
        if not newest:
            raise NotFound(f"Latest version not found for model {model.name}.")
        return newest[0]
    number = await aliases.holder(connection, model=model, alias=alias)
    if number is None:
        raise InvalidInput(f"Registered model alias {alias} not found.", field="alias")
    return await versions.get(connection, project=context.project, name=model.name, version=number)


async def _lock(context: Context, connection: Connection, given: Arguments) -> Model:
    name = names.check_model_name(given.required("name"))
    return await models.lock(connection, project=context.project, name=name)


async def _document(context: Context, connection: Connection, name: str) -> dict[str, Any]:
    model = await models.get(connection, project=context.project, name=name)
    latest = await _latest(connection, [model])
    return model_document(model, latest.get(model.id, []))


async def _latest(connection: Connection, found: list[Model]) -> dict[str, list[Version]]:
    by_model: dict[str, list[Version]] = {}
    for version in await versions.latest(
        connection, model_ids=[model.id for model in found], stages=names.STAGES
    ):
        by_model.setdefault(version.model_id, []).append(version)
    return by_model


def _paged(answer: dict[str, Any], name: str, *, more: bool, after: int) -> dict[str, Any]:
    if not answer[name]:
        del answer[name]
    if more:
        answer["next_page_token"] = search.page_token(after)
    return answer
