"""`experiments/*`."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, experiment_document
from services.tracking.domain.entities import STAGES
from services.tracking.domain.names import (
    check_artifact_location,
    check_experiment_name,
    experiment_number,
    experiment_tag_of,
)
from services.tracking.domain.search import (
    EXPERIMENTS,
    next_token,
    offset_of,
    parse_filter,
    parse_order,
)
from services.tracking.store import experiments as store

VIEW_TYPES: Final = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")
DEFAULT_RESULTS: Final = 1000
MAX_RESULTS: Final = 50_000


async def create(call: Call) -> Document:
    name = check_experiment_name(call.fields.required("name"))
    location = call.fields.text("artifact_location") or None
    tags = dict(experiment_tag_of(key, value) for key, value in call.fields.pairs("tags"))
    async with call.resources.bus.transaction(call.caller) as tx:
        number = await store.create_experiment(
            tx.connection,
            project=call.project,
            name=name,
            artifact_location=check_artifact_location(location) if location else None,
            tags=tags,
            now_ms=call.resources.clock.now_ms(),
        )
    return {"experiment_id": str(number)}


async def get(call: Call) -> Document:
    number = _number(call)
    async with call.resources.pool.acquire() as connection:
        found = await store.get_experiment(connection, project=call.project, number=number)
    return {"experiment": experiment_document(found)}


async def get_by_name(call: Call) -> Document:
    name = call.fields.required("experiment_name")
    async with call.resources.pool.acquire() as connection:
        found = await store.get_experiment_by_name(connection, project=call.project, name=name)
    return {"experiment": experiment_document(found)}


async def search(call: Call) -> Document:
    fields = call.fields
    condition = parse_filter(fields.text("filter"), EXPERIMENTS)
    orders = parse_order(fields.texts("order_by"), EXPERIMENTS)
    if any(order.field.entity != "attribute" for order in orders):
        raise InvalidInput("Invalid order_by entity: tag", field="order_by")
    limit = fields.bounded("max_results", default=DEFAULT_RESULTS, most=MAX_RESULTS)
    offset = offset_of(fields.text("page_token"))
    async with call.resources.pool.acquire() as connection:
        found = await store.search_experiments(
            connection,
            project=call.project,
            condition=condition,
            orders=orders,
            stages=STAGES[fields.choice("view_type", VIEW_TYPES) or "ACTIVE_ONLY"],
            limit=limit + 1,
            offset=offset,
        )
    document: Document = {"experiments": [experiment_document(one) for one in found[:limit]]}
    if len(found) > limit:
        document["next_page_token"] = next_token(offset + limit)
    return document


async def update(call: Call) -> Document:
    number = _number(call)
    name = check_experiment_name(call.fields.required("new_name"))
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.rename_experiment(
            tx.connection,
            project=call.project,
            number=number,
            name=name,
            now_ms=call.resources.clock.now_ms(),
        )
    return {}


async def delete(call: Call) -> Document:
    number = _number(call)
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.move_experiment(
            tx.connection,
            project=call.project,
            number=number,
            stage="deleted",
            now_ms=call.resources.clock.now_ms(),
        )
    return {}


async def restore(call: Call) -> Document:
    number = _number(call)
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.move_experiment(
            tx.connection,
            project=call.project,
            number=number,
            stage="active",
            now_ms=call.resources.clock.now_ms(),
        )
    return {}


async def set_tag(call: Call) -> Document:
    number = _number(call)
    key, value = experiment_tag_of(call.fields.required("key"), call.fields.text("value") or "")
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.set_experiment_tag(
            tx.connection, project=call.project, number=number, key=key, value=value
        )
    return {}


async def delete_tag(call: Call) -> Document:
    number, key = _number(call), call.fields.required("key")
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.delete_experiment_tag(
            tx.connection, project=call.project, number=number, key=key
        )
    return {}


def _number(call: Call) -> int:
    return experiment_number(call.fields.required("experiment_id"))


ROUTES: Final[RouteTable] = (
    ("POST", "/experiments/create", create),
    ("GET", "/experiments/get", get),
    ("GET", "/experiments/get-by-name", get_by_name),
    ("POST", "/experiments/search", search),
    ("GET", "/experiments/search", search),
    ("POST", "/experiments/update", update),
    ("POST", "/experiments/delete", delete),
    ("POST", "/experiments/restore", restore),
    ("POST", "/experiments/set-experiment-tag", set_tag),
    ("POST", "/experiments/delete-experiment-tag", delete_tag),
)
