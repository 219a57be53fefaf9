"""`datasets/*`: evaluation datasets and their records. Clients send JSON inside JSON texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from headrace.errors import InvalidInput
from headrace.ids import new_id
from headrace.runtime.db import Connection
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.domain import evaluation as rules
from services.tracking.domain.evaluation import DATASETS, EvaluationDataset, Record
from services.tracking.domain.names import experiment_number
from services.tracking.domain.search import next_token, offset_of, parse_filter, parse_order
from services.tracking.store import evaluation as store

_RESULTS: Final = 1000
_MAX_RESULTS: Final = 50_000


async def create(call: Call) -> Document:
    now = call.resources.clock.now_ms()
    name = rules.check_dataset_name(call.fields.required("name"))
    text = call.fields.text("tags")
    tags = rules.check_tags(rules.parsed(text, name="tags")) if text else {}
    dataset = EvaluationDataset(
        dataset_id=f"d-{_hex()}",
        name=name,
        digest=rules.digest_of(name, now),
        schema=None,
        records=0,
        created_time=now,
        last_update_time=now,
        created_by=tags.get(rules.USER_TAG),
        last_updated_by=tags.get(rules.USER_TAG),
        tags=tags,
        experiment_ids=[str(number) for number in _experiments(call)],
    )
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.create(tx.connection, dataset, project=call.project)
    return {"dataset": _document(dataset)}


async def get(call: Call) -> Document:
    return {"dataset": _document(await _one(call))}


async def delete(call: Call) -> Document:
    async with call.resources.bus.transaction(call.caller) as tx:
        await store.delete(tx.connection, project=call.project, dataset_id=call.path["dataset_id"])
    return {}


async def search(call: Call) -> Document:
    fields = call.fields
    limit = fields.bounded("max_results", default=_RESULTS, most=_MAX_RESULTS)
    offset = offset_of(fields.text("page_token"))
    orders = parse_order(fields.texts("order_by"), DATASETS)
    if any(order.field.entity != "attribute" for order in orders):
        raise InvalidInput("Invalid order_by entity: tag", field="order_by")
    async with call.resources.pool.acquire() as connection:
        found = await store.search(
            connection,
            project=call.project,
            experiments=_experiments(call),
            condition=parse_filter(fields.text("filter_string"), DATASETS),
            orders=orders,
            limit=limit + 1,
            offset=offset,
        )
    return _page("datasets", [_document(one) for one in found], limit=limit, offset=offset)


async def set_tags(call: Call) -> Document:
    tags = rules.check_tags(rules.parsed(call.fields.required("tags"), name="tags"))
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await _locked(call, tx.connection)
        await store.set_tags(tx.connection, dataset_id=found.dataset_id, tags=tags)
    return {}


async def delete_tag(call: Call) -> Document:
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await _locked(call, tx.connection)
        await store.delete_tag(tx.connection, dataset_id=found.dataset_id, key=call.path["key"])
    return {}


async def experiment_ids(call: Call) -> Document:
    return {"experiment_ids": list((await _one(call)).experiment_ids)}


async def add_experiments(call: Call) -> Document:
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await _locked(call, tx.connection)
        await store.add_experiments(
            tx.connection,
            dataset_id=found.dataset_id,
            project=call.project,
            experiments=_experiments(call),
        )
    return {"dataset": _document(await _one(call))}


async def remove_experiments(call: Call) -> Document:
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await _locked(call, tx.connection)
        await store.remove_experiments(
            tx.connection, dataset_id=found.dataset_id, experiments=_experiments(call)
        )
    return {"dataset": _document(await _one(call))}


async def upsert_records(call: Call) -> Document:
    given = rules.check_records(rules.parsed(call.fields.required("records"), name="records"))
    now = call.resources.clock.now_ms()
    async with call.resources.bus.transaction(call.caller) as tx:
        dataset = await _locked(call, tx.connection)
        hashes = [rules.hash_of(record["inputs"]) for record in given]
        known = await store.records_by_hash(
            tx.connection, dataset_id=dataset.dataset_id, hashes=hashes
        )
        inserted = 0
        changed: dict[str, Record] = {}
        for key, record in zip(hashes, given, strict=True):
            before = changed.get(key) or known.get(key)
            inserted += before is None
            changed[key] = _after(before, record, now)
        await store.put_records(
            tx.connection, dataset_id=dataset.dataset_id, records=list(changed.values())
        )
        users = [user for record in given if (user := rules.user_in(record))]
        await store.note_change(
            tx.connection,
            replace(
                dataset,
                digest=rules.digest_of(dataset.name, now),
                schema=rules.widened(dataset.schema, given),
                last_update_time=now,
                last_updated_by=users[-1] if users else None,
            ),
        )
    return {"inserted_count": inserted, "updated_count": len(given) - inserted}


async def records(call: Call) -> Document:
    limit = call.fields.bounded("max_results", default=_RESULTS, most=_MAX_RESULTS)
    offset = offset_of(call.fields.text("page_token"))
    dataset = await _one(call)
    async with call.resources.pool.acquire() as connection:
        found = await store.records(
            connection, dataset_id=dataset.dataset_id, limit=limit + 1, offset=offset
        )
    listed = [_record_document(dataset, record) for record in found]
    answer = _page("records", listed, limit=limit, offset=offset)
    return {**answer, "records": json.dumps(answer.get("records", []))}


async def delete_records(call: Call) -> Document:
    async with call.resources.bus.transaction(call.caller) as tx:
        dataset = await _locked(call, tx.connection)
        gone = await store.delete_records(
            tx.connection,
            dataset_id=dataset.dataset_id,
            record_ids=call.fields.texts("dataset_record_ids"),
        )
        now = call.resources.clock.now_ms()
        digest = rules.digest_of(dataset.name, now)
        await store.note_change(
            tx.connection, replace(dataset, digest=digest, last_update_time=now)
        )
    return {"deleted_count": gone}


async def _one(call: Call) -> EvaluationDataset:
    async with call.resources.pool.acquire() as connection:
        return await store.get(connection, project=call.project, dataset_id=call.path["dataset_id"])


async def _locked(call: Call, connection: Connection) -> EvaluationDataset:
    return await store.get(
        connection, project=call.project, dataset_id=call.path["dataset_id"], lock=True
    )


def _experiments(call: Call) -> list[int]:
    return [experiment_number(text) for text in call.fields.texts("experiment_ids")]


def _after(before: Record | None, given: Mapping[str, Any], now_ms: int) -> Record:
    if before is None:
        return rules.new_record(given, record_id=f"dr-{_hex()}", now_ms=now_ms)
    return before.merged(given, now_ms=now_ms)


def _hex() -> str:
    return new_id().replace("-", "")


def _page(name: str, found: list[Document], *, limit: int, offset: int) -> Document:
    answer: Document = {name: found[:limit]} if found else {}
    if len(found) > limit:
        answer["next_page_token"] = next_token(offset + limit)
    return answer


def _document(dataset: EvaluationDataset) -> Document:
    document: Document = {
        "dataset_id": dataset.dataset_id,
        "name": dataset.name,
        "digest": dataset.digest,
        "created_time": dataset.created_time,
        "last_update_time": dataset.last_update_time,
        "tags": json.dumps(dict(dataset.tags)),
    }
    if dataset.schema is not None:
        document["schema"] = json.dumps(dataset.schema)
    if dataset.records:
        document["profile"] = json.dumps({"num_records": dataset.records})
    if dataset.created_by is not None:
        document["created_by"] = dataset.created_by
    if dataset.last_updated_by is not None:
        document["last_updated_by"] = dataset.last_updated_by
    if dataset.experiment_ids:
        document["experiment_ids"] = list(dataset.experiment_ids)
    return document


def _record_document(dataset: EvaluationDataset, record: Record) -> Document:
    document: Document = {
        "dataset_record_id": record.record_id,
        "dataset_id": dataset.dataset_id,
        "inputs": dict(record.inputs),
        "created_time": record.created_time,
        "last_update_time": record.last_update_time,
    }
    for name in ("outputs", "expectations", "tags", "source", "created_by", "last_updated_by"):
        value = getattr(record, name)
        if value is not None:
            document[name] = value
    return document


ROUTES: Final[RouteTable] = (
    ("POST", "/datasets/create", create),
    ("GET", "/datasets/search", search),
    ("POST", "/datasets/search", search),
    ("GET", "/datasets/{dataset_id}/records", records),
    ("POST", "/datasets/{dataset_id}/records", upsert_records),
    ("DELETE", "/datasets/{dataset_id}/records", delete_records),
    ("GET", "/datasets/{dataset_id}/experiment-ids", experiment_ids),
    ("POST", "/datasets/{dataset_id}/add-experiments", add_experiments),
    ("POST", "/datasets/{dataset_id}/remove-experiments", remove_experiments),
    ("PATCH", "/datasets/{dataset_id}/tags", set_tags),
    ("DELETE", "/datasets/{dataset_id}/tags/{key:path}", delete_tag),
    ("GET", "/datasets/{dataset_id}", get),
    ("DELETE", "/datasets/{dataset_id}", delete),
)
