"""`traces`: start, get, tags, links, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.db import Connection
from services.tracking.api.call import Call, Function, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.traces.documents import info_document, trace_document
from services.tracking.api.traces.reading import checked_tags, new_trace_of
from services.tracking.domain.names import experiment_number
from services.tracking.domain.traces.entities import LOCATION_TAG, SIZE_METADATA, SPANS_TAG, Trace
from services.tracking.domain.values import missing
from services.tracking.store.traces import changes, deletes, links, reads
from services.tracking.store.traces.intake import TraceIntake

MAX_IDS: Final = 500
MAX_LINKS: Final = 100
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Seconds between looks for spans that are still on their way."""


def start(intake: TraceIntake) -> Function:
    """The function that takes a trace in, in a group with others."""

    async def start_trace(call: Call) -> Document:
        trace = call.fields.inner("trace")
        info = trace.inner("trace_info") if trace is not None else None
        if info is None:
            raise missing("trace" if trace is None else "trace.trace_info")
        new = new_trace_of(info, now_ms=call.resources.clock.now_ms())
        return {"trace": {"trace_info": info_document(await intake.add_info(new))}}

    return start_trace


async def get_info(call: Call) -> Document:
    async with call.resources.pool.acquire() as connection:
        trace = await reads.get_trace(
            connection, project=call.project, trace_id=call.path["trace_id"]
        )
    return {"trace": {"trace_info": info_document(trace)}}


async def get(call: Call) -> Document:
    """A trace with its spans; waits a little for those that are on their way."""
    trace_id = call.fields.required("trace_id")
    partial = call.fields.truth("allow_partial")
    for pause in (*_PAUSES, None):
        trace, spans = await _with_spans(call, trace_id)
        if partial or _is_whole(trace, spans):
            return {"trace": trace_document(trace, spans)}
        if pause is not None:
            await asyncio.sleep(pause)
    raise NotFound(f"Trace with ID {trace_id} is not fully exported yet, please try again later.")


async def batch_get(call: Call) -> Document:
    """Whole traces; those whose spans have not all come are left out."""
    async with call.resources.pool.acquire() as connection:
        traces = await _asked_for(call, connection)
        spans = await reads.get_spans(connection, traces)
    whole = [
        trace_document(trace, spans[trace.trace_id])
        for trace in traces
        if _is_whole(trace, spans.get(trace.trace_id, []))
    ]
    return {"traces": whole} if whole else {}


async def batch_get_infos(call: Call) -> Document:
    async with call.resources.pool.acquire() as connection:
        traces = await _asked_for(call, connection)
    return {"trace_infos": [info_document(trace) for trace in traces]} if traces else {}


async def set_tag(call: Call) -> Document:
    key = _tag_key(call)
    tags = checked_tags({key: call.fields.text("value") or ""}, what="tag")
    async with call.resources.pool.acquire() as connection:
        await changes.set_trace_tag(
            connection,
            project=call.project,
            trace_id=call.path["trace_id"],
            key=key,
            value=tags[key],
        )
    return {}


async def delete_tag(call: Call) -> Document:
    key = _tag_key(call)
    async with call.resources.pool.acquire() as connection, connection.transaction():
        await changes.delete_trace_tag(
            connection, project=call.project, trace_id=call.path["trace_id"], key=key
        )
    return {}


async def delete(call: Call) -> Document:
    """Delete by id, or the oldest until a time; in transactions of a bounded size."""
    fields = call.fields
    experiment = experiment_number(fields.required("experiment_id"))
    until_ms, most = fields.integer("max_timestamp_millis"), fields.integer("max_traces")
    trace_ids = fields.texts("request_ids") or fields.texts("trace_ids")
    _check_deletion(until_ms, most, trace_ids)
    deleted = 0
    while most is None or deleted < most:
        async with call.resources.pool.acquire() as connection, connection.transaction():
            count = await deletes.delete_traces(
                connection,
                project=call.project,
                experiment=experiment,
                trace_ids=trace_ids or None,
                until_ms=until_ms,
                most=deletes.AT_ONCE if most is None else most - deleted,
            )
        deleted += count
        if count < deletes.AT_ONCE:
            break
    return {"traces_deleted": deleted}


async def link_to_run(call: Call) -> Document:
    trace_ids = call.fields.texts("trace_ids")
    run_id = call.fields.required("run_id")
    if not trace_ids:
        raise missing("trace_ids")
    if len(trace_ids) > MAX_LINKS:
        raise InvalidInput(
            f"Cannot link more than {MAX_LINKS} traces to a run in a single request."
            f" Provided {len(trace_ids)} traces.",
            field="trace_ids",
        )
    async with call.resources.pool.acquire() as connection, connection.transaction():
        await links.check_run(connection, project=call.project, run_id=run_id)
        await links.link_traces(
            connection, project=call.project, run_id=run_id, trace_ids=trace_ids
        )
    return {}


async def link_prompts(call: Call) -> Document:
    trace_id = call.fields.required("trace_id")
    prompts = [
        (given.required("name"), given.required("version"))
        for given in call.fields.each("prompt_versions")
    ]
    if not prompts:
        raise missing("prompt_versions")
    async with call.resources.pool.acquire() as connection:
        await links.link_prompts(
            connection, project=call.project, trace_id=trace_id, prompts=prompts
        )
    return {}


async def _with_spans(call: Call, trace_id: str) -> tuple[Trace, list[Span]]:
    async with call.resources.pool.acquire() as connection:
        trace = await reads.get_trace(connection, project=call.project, trace_id=trace_id)
        spans = await reads.get_spans(connection, [trace])
    return trace, spans.get(trace_id, [])


async def _asked_for(call: Call, connection: Connection) -> list[Trace]:
    fields = call.fields
    trace_ids = fields.texts("trace_ids")
    if not trace_ids:
        raise missing("trace_ids")
    if len(trace_ids) > MAX_IDS:
        raise InvalidInput(
            f"At most {MAX_IDS} traces can be asked for at once. Got {len(trace_ids)}.",
            field="trace_ids",
        )
    experiments = None
    if fields.has("experiment_ids"):
        experiments = [experiment_number(one) for one in fields.texts("experiment_ids")]
    return await reads.get_traces(
        connection, project=call.project, trace_ids=trace_ids, experiments=experiments
    )


def _is_whole(trace: Trace, spans: Sequence[Span]) -> bool:
    """Whether all spans have come that the client says it sent."""
    return bool(spans) and len(spans) >= _announced(trace.metadata.get(SIZE_METADATA))


def _announced(statistics: str | None) -> int:
    try:
        document = orjson.loads(statistics or "{}")
    except orjson.JSONDecodeError:
        return 0
    count = document.get("num_spans") if isinstance(document, dict) else None
    return count if isinstance(count, int) else 0


def _tag_key(call: Call) -> str:
    key = call.fields.required("key")
    if key in (LOCATION_TAG, SPANS_TAG):
        raise InvalidInput(
            f"Tag '{key}' is immutable and cannot be changed on a trace.", field="key"
        )
    return key


def _check_deletion(until_ms: int | None, most: int | None, trace_ids: Sequence[str]) -> None:
    if until_ms is None and not trace_ids:
        raise InvalidInput(
            "Either `max_timestamp_millis` or `trace_ids` must be specified.",
            field="max_timestamp_millis",
        )
    if until_ms is not None and trace_ids:
        raise InvalidInput(
            "Only one of `max_timestamp_millis` and `trace_ids` can be specified.",
            field="max_timestamp_millis",
        )
    if trace_ids and most is not None:
        raise InvalidInput(
            "`max_traces` can't be specified if `trace_ids` is specified.", field="max_traces"
        )
    if most is not None and most <= 0:
        raise InvalidInput(
            f"`max_traces` must be a positive integer, received {most}.", field="max_traces"
        )


V2_ROUTES: Final[RouteTable] = (
    ("PATCH", "/traces/{trace_id}/tags", set_tag),
    ("DELETE", "/traces/{trace_id}/tags", delete_tag),
    ("POST", "/traces/delete-traces", delete),
    ("POST", "/traces/link-to-run", link_to_run),
    ("POST", "/traces/link-prompts", link_prompts),
)
V3_ROUTES: Final[RouteTable] = (
    ("GET", "/traces/get", get),
    ("GET", "/traces/batchGet", batch_get),
    ("POST", "/traces/batchGetInfos", batch_get_infos),
    ("POST", "/traces/delete-traces", delete),
    ("PATCH", "/traces/{trace_id}/tags", set_tag),
    ("DELETE", "/traces/{trace_id}/tags", delete_tag),
    ("GET", "/traces/{trace_id}", get_info),
)
