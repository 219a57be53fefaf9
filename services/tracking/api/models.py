"""`logged-models/*`."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from headrace.runtime.ids import new_id
from services.tracking.api.artifacts.listing import list_below
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, model_document
from services.tracking.domain.entities import MODEL_STATUSES
from services.tracking.domain.names import (
    MAX_ID,
    MAX_PARAM_VALUE,
    check_length,
    check_model_name,
    experiment_number,
    param_of,
    tag_of,
)
from services.tracking.domain.naming import name_for
from services.tracking.domain.search import (
    MODELS,
    next_token,
    offset_of,
    parse_filter,
    parse_model_order,
)
from services.tracking.domain.values import missing
from services.tracking.store import models as store

DEFAULT_RESULTS: Final = 100
MAX_RESULTS: Final = 1000
MAX_PARAMS: Final = 100


async def create(call: Call) -> Document:
    fields = call.fields
    experiment = experiment_number(fields.required("experiment_id"))
    name = fields.text("name")
    model_id = "m-" + new_id().replace("-", "")
    async with call.resources.bus.transaction(call.caller) as tx:
        model = await store.create_model(
            tx.connection,
            project=call.project,
            model_id=model_id,
            experiment=experiment,
            name=check_model_name(name) if name is not None else name_for(model_id),
            model_type=check_length(fields.text("model_type") or "", limit=500, what="model_type"),
            source_run_id=check_length(
                fields.text("source_run_id") or "", limit=MAX_ID, what="source_run_id"
            ),
            params=_params(call),
            tags=_tags(call),
            now_ms=call.resources.clock.now_ms(),
        )
    return {"model": model_document(model)}


async def get(call: Call) -> Document:
    async with call.resources.pool.acquire() as connection:
        model = await store.get_model(
            connection,
            project=call.project,
            model_id=call.path["model_id"],
            deleted=call.fields.truth("allow_deleted"),
        )
    return {"model": model_document(model)}


async def finalize(call: Call) -> Document:
    model_id = call.path["model_id"]
    status = call.fields.choice("status", MODEL_STATUSES, first=0)
    if status is None:
        raise missing("status")
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.lock_model(tx.connection, project=call.project, model_id=model_id)
        await store.finalize_model(
            tx.connection,
            model_id=model_id,
            status=status,
            now_ms=call.resources.clock.now_ms(),
        )
        model = await store.get_model(tx.connection, project=call.project, model_id=model_id)
    return {"model": model_document(model)}


async def delete(call: Call) -> Document:
    model_id = call.path["model_id"]
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.lock_model(tx.connection, project=call.project, model_id=model_id)
        await store.delete_model(
            tx.connection, model_id=model_id, now_ms=call.resources.clock.now_ms()
        )
    return {}


async def log_params(call: Call) -> Document:
    model_id, params = call.path["model_id"], _params(call)
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.lock_model(tx.connection, project=call.project, model_id=model_id)
        await store.add_model_params(tx.connection, model_id=model_id, params=params)
    return {}


async def set_tags(call: Call) -> Document:
    model_id, tags = call.path["model_id"], _tags(call)
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.lock_model(tx.connection, project=call.project, model_id=model_id)
        await store.set_model_tags(tx.connection, model_id=model_id, tags=tags)
    return {}


async def delete_tag(call: Call) -> Document:
    model_id = call.path["model_id"]
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.lock_model(tx.connection, project=call.project, model_id=model_id)
        await store.delete_model_tag(tx.connection, model_id=model_id, key=call.path["key"])
    return {}


async def search(call: Call) -> Document:
    fields = call.fields
    experiments = fields.texts("experiment_ids")
    if not experiments:
        raise missing("experiment_ids")
    limit = fields.bounded("max_results", default=DEFAULT_RESULTS, most=MAX_RESULTS)
    offset = offset_of(fields.text("page_token"))
    condition = parse_filter(fields.text("filter"), MODELS)
    orders = parse_model_order(fields.objects("order_by"))
    datasets = _datasets(call)
    async with call.resources.pool.acquire() as connection:
        found = await store.search_models(
            connection,
            project=call.project,
            experiments=[experiment_number(one) for one in experiments],
            condition=condition,
            datasets=datasets,
            orders=orders,
            limit=limit + 1,
            offset=offset,
        )
    document: Document = {"models": [model_document(model) for model in found[:limit]]}
    if len(found) > limit:
        document["next_page_token"] = next_token(offset + limit)
    return document


async def list_directory(call: Call) -> Document:
    """What lies in a directory of a model's files; paths are relative to the model."""
    async with call.resources.pool.acquire() as connection:
        model = await store.get_model(
            connection, project=call.project, model_id=call.path["model_id"]
        )
    directory = call.fields.text("artifact_directory_path") or ""
    return await list_below(call, model.artifact_location, directory=directory)


def _params(call: Call) -> dict[str, str]:
    entries = call.fields.pairs("params")
    if len(entries) > MAX_PARAMS:
        raise InvalidInput(
            f"A request can contain at most {MAX_PARAMS} params. Got {len(entries)}.",
            field="params",
        )
    for _, value in entries:
        check_length(value, limit=MAX_PARAM_VALUE, what="Param value")
    return dict(
        param_of(key, value, path=f"params[{index}]") for index, (key, value) in enumerate(entries)
    )


def _tags(call: Call) -> dict[str, str]:
    return dict(
        tag_of(key, value, path=f"tags[{index}]")
        for index, (key, value) in enumerate(call.fields.pairs("tags"))
    )


def _datasets(call: Call) -> list[tuple[str, str]]:
    found = []
    for entry in call.fields.each("datasets"):
        name = entry.text("dataset_name")
        if not name:
            raise InvalidInput(
                "`dataset_name` in the `datasets` clause must be specified.", field="datasets"
            )
        found.append((name, entry.text("dataset_digest") or ""))
    return found


ROUTES: Final[RouteTable] = (
    ("POST", "/logged-models", create),
    ("POST", "/logged-models/search", search),
    ("GET", "/logged-models/{model_id}", get),
    ("PATCH", "/logged-models/{model_id}", finalize),
    ("DELETE", "/logged-models/{model_id}", delete),
    ("POST", "/logged-models/{model_id}/params", log_params),
    ("PATCH", "/logged-models/{model_id}/tags", set_tags),
    ("DELETE", "/logged-models/{model_id}/tags/{key:path}", delete_tag),
    ("GET", "/logged-models/{model_id}/artifacts/directories", list_directory),
)
