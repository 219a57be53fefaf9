"""`scorers/*`: kept for clients, never run here."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from headrace.runtime.db import Connection
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.domain.errors import inactive_experiment
from services.tracking.domain.names import experiment_number
from services.tracking.domain.scorers import ScorerVersion, check_scorer_name, check_serialized
from services.tracking.store import experiments
from services.tracking.store import scorers as store

_MAX_VERSION: Final = 2**31 - 1


async def register(call: Call) -> Document:
    number = experiment_number(call.fields.required("experiment_id"))
    name = check_scorer_name(call.fields.required("name"))
    body = check_serialized(call.fields.required("serialized_scorer"))
    async with call.resources.bus.transaction(call.caller) as tx:
        await _check_active(tx.connection, call, number)
        made = await store.register(
            tx.connection,
            project=call.project,
            experiment_id=number,
            name=name,
            serialized_scorer=body,
            now_ms=call.resources.clock.now_ms(),
        )
    return {
        "version": made.version,
        "scorer_id": made.scorer_id,
        "experiment_id": str(made.experiment_id),
        "name": made.name,
        "serialized_scorer": made.serialized_scorer,
        "creation_time": made.creation_time,
    }


async def newest(call: Call) -> Document:
    fields = call.fields
    one = fields.text("experiment_id")
    if one and fields.has("experiment_ids"):
        raise InvalidInput(
            "Cannot specify both 'experiment_id' and 'experiment_ids'. Use 'experiment_ids' to "
            "scope the query to multiple experiments, or 'experiment_id' to scope it to a "
            "single experiment.",
            field="experiment_ids",
        )
    numbers = [experiment_number(text) for text in fields.texts("experiment_ids")]
    async with call.resources.pool.acquire() as connection:
        if one:
            numbers = [experiment_number(one)]
            await _check_active(connection, call, numbers[0])
        found = await store.newest(
            connection,
            project=call.project,
            experiments=numbers if one or fields.has("experiment_ids") else None,
        )
    return _listed(found)


async def versions(call: Call) -> Document:
    number = experiment_number(call.fields.required("experiment_id"))
    name = call.fields.required("name")
    async with call.resources.pool.acquire() as connection:
        await _check_active(connection, call, number)
        found = await store.versions(
            connection, project=call.project, experiment_id=number, name=name
        )
    return _listed(found)


async def get(call: Call) -> Document:
    number = experiment_number(call.fields.required("experiment_id"))
    name = call.fields.required("name")
    async with call.resources.pool.acquire() as connection:
        await _check_active(connection, call, number)
        found = await store.get(
            connection,
            project=call.project,
            experiment_id=number,
            name=name,
            version=_version(call),
        )
    return {"scorer": _document(found)}


async def delete(call: Call) -> Document:
    number = experiment_number(call.fields.required("experiment_id"))
    name = call.fields.required("name")
    async with call.resources.bus.transaction(call.caller) as tx:
        await _check_active(tx.connection, call, number)
        await store.delete(
            tx.connection,
            project=call.project,
            experiment_id=number,
            name=name,
            version=_version(call),
        )
    return {}


async def online_configs(call: Call) -> Document:
    """Which scorers run by themselves on new traces: none do here."""
    _ = call
    return {"configs": []}


async def _check_active(connection: Connection, call: Call, number: int) -> None:
    found = await experiments.get_experiment(connection, project=call.project, number=number)
    if found.lifecycle_stage != "active":
        raise inactive_experiment(number, found.lifecycle_stage)


def _version(call: Call) -> int | None:
    version = call.fields.integer("version")
    return None if version is None else min(max(version, 0), _MAX_VERSION)


def _listed(found: list[ScorerVersion]) -> Document:
    return {"scorers": [_document(version) for version in found]} if found else {}


def _document(version: ScorerVersion) -> Document:
    return {
        "experiment_id": version.experiment_id,
        "scorer_name": version.name,
        "scorer_version": version.version,
        "serialized_scorer": version.serialized_scorer,
        "creation_time": version.creation_time,
        "scorer_id": version.scorer_id,
    }


ROUTES: Final[RouteTable] = (
    ("POST", "/scorers/register", register),
    ("GET", "/scorers/list", newest),
    ("GET", "/scorers/versions", versions),
    ("GET", "/scorers/get", get),
    ("DELETE", "/scorers/delete", delete),
    ("GET", "/scorers/online-configs", online_configs),
)
