"""Governance: models, versions, champions, lineage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.db import Connection
from services.registry.api.bodies import Named
from services.registry.api.context import PREFIX, Context
from services.registry.api.documents import (
    conversion_document,
    dataset_document,
    model_document,
    move_document,
    request_document,
    version_document,
)
from services.registry.domain.lineage import Kind, Node, describe
from services.registry.domain.names import CHAMPION
from services.registry.domain.records import Version
from services.registry.store import (
    aliases,
    conversions,
    datasets,
    lineage,
    models,
    promotions,
    versions,
)

_MOST = 1000


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=PREFIX, tags=["models"])
    _add_models(routes, context)
    _add_champions(routes, context)
    _add_versions(routes, context)
    return routes


def _add_models(routes: APIRouter, context: Context) -> None:
    @routes.get("/models")
    async def all_models() -> dict[str, Any]:
        async with context.reading() as connection:
            found = await models.every(connection, project=context.project)
            policies = await promotions.policies(connection, project=context.project)
        return {"models": [model_document(model, policies.get(model.name)) for model in found]}

    @routes.get("/models/{name}")
    async def one_model(name: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            policy = await promotions.policy(connection, project=context.project, model=name)
        return model_document(model, policy)


def _add_champions(routes: APIRouter, context: Context) -> None:
    @routes.get("/models/{name}/champion")
    async def champion(name: Named, at: datetime | None = None) -> dict[str, Any]:
        if at is not None and at.tzinfo is None:
            raise InvalidInput("at: expected a time with its zone (RFC 3339)", field="at")
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            step = await aliases.as_of(connection, model=model, alias=CHAMPION, moment=at)
            if step is None or step.version is None:
                raise NotFound(f"model {name} has no champion{f' at {at}' if at else ''}")
            version = await versions.get(
                connection, project=context.project, name=name, version=step.version
            )
            files = await versions.files(connection, version_id=version.id)
        return {
            **version_document(version, files),
            "alias": CHAMPION,
            "previous_version": step.previous_version,
            "cause": step.cause,
            "request_id": step.request_id,
            "promoted_at": step.moved_at.isoformat(),
            "promoted_event_id": step.event_id,
            "correlation_id": step.correlation_id,
        }

    @routes.get("/models/{name}/aliases/{alias}/history")
    async def history(name: Named, alias: Named) -> dict[str, Any]:
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            moves = await aliases.history(connection, model=model, alias=alias)
        return {"model": name, "alias": alias, "history": [move_document(step) for step in moves]}


def _add_versions(routes: APIRouter, context: Context) -> None:
    @routes.get("/models/{name}/versions")
    async def all_versions(
        name: Named, limit: Annotated[int, Query(ge=1, le=_MOST)] = 100
    ) -> dict[str, Any]:
        async with context.reading() as connection:
            model = await models.get(connection, project=context.project, name=name)
            found = await versions.of_model(connection, model=model, limit=limit)
        return {"versions": [version_document(version, None) for version in found]}

    @routes.get("/models/{name}/versions/{number}")
    async def one_version(name: Named, number: int) -> dict[str, Any]:
        async with context.reading() as connection:
            version = await _version(context, connection, name, number)
            files = await versions.files(connection, version_id=version.id)
            conversion = await conversions.find(connection, version_id=version.id)
        document = version_document(version, files)
        return {**document, "conversion": conversion_document(conversion)}

    @routes.get("/models/{name}/versions/{number}/lineage")
    async def version_lineage(name: Named, number: int) -> dict[str, Any]:
        async with context.reading() as connection:
            version = await _version(context, connection, name, number)
            return await _lineage(context, connection, version)


async def _version(context: Context, connection: Connection, name: str, number: int) -> Version:
    if not 1 <= number < 2**31:
        raise NotFound(f"Model Version (name={name}, version={number}) not found")
    return await versions.get(connection, project=context.project, name=name, version=number)


async def _lineage(context: Context, connection: Connection, version: Version) -> dict[str, Any]:
    nodes = await lineage.behind(connection, project=context.project, version_id=version.id)
    edges = await lineage.edges_of(
        connection, project=context.project, nodes=[node.node for node in nodes]
    )
    requests = await promotions.of_version(connection, version_id=version.id, alias=CHAMPION)
    model = await models.get(connection, project=context.project, name=version.model)
    moves = await aliases.history(connection, model=model, alias=CHAMPION)
    parts = describe(nodes)
    parts["dataset_version"] = await _dataset(context, connection, parts["dataset_version"])
    return {
        "model": version.model,
        "version": version.version,
        "digest": version.digest,
        "event_id": version.event_id,
        "correlation_id": version.correlation_id,
        "created_at": version.created_at.isoformat(),
        **parts,
        "promotions": [request_document(request) for request in reversed(requests)],
        "champion_history": [
            move_document(step)
            for step in moves
            if version.version in {step.version, step.previous_version}
        ],
        "graph": {
            "nodes": [_node_document(node) for node in nodes],
            "edges": [
                {
                    "source": f"{edge.source.kind}:{edge.source.id}",
                    "relation": edge.relation.value,
                    "target": f"{edge.target.kind}:{edge.target.id}",
                    "event_id": edge.event_id,
                }
                for edge in edges
            ],
        },
    }


async def _dataset(
    context: Context, connection: Connection, node: dict[str, Any] | None
) -> dict[str, Any] | None:
    """What the registry knows of the dataset version that lineage names."""
    if node is None:
        return None
    name, _, number = str(node["id"]).rpartition("/")
    version = int(number) if number.isdigit() and len(number) < 10 else 0
    found = await datasets.find(connection, project=context.project, name=name, version=version)
    return {**node, **dataset_document(found)} if found else node


def _node_document(node: Node) -> dict[str, Any]:
    name = node.node.id
    if node.node.kind is Kind.MODEL_VERSION and node.detail:
        name = f"{node.detail['model']}/{node.detail['version']}"
    return {
        "id": f"{node.node.kind}:{node.node.id}",
        "kind": node.node.kind.value,
        "name": name,
        "event_id": node.event_id,
    }
