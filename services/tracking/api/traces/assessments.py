"""`traces/{id}/assessments`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.fields import Fields
from services.tracking.api.traces.documents import assessment_document
from services.tracking.api.traces.reading import (
    MAX_KEY,
    MAX_VALUE,
    assessment_of,
    new_assessment_id,
    value_of,
)
from services.tracking.domain.names import check_length
from services.tracking.domain.traces.entities import Assessment, AssessmentKind
from services.tracking.domain.values import missing
from services.tracking.store.traces import assessments as store


async def create(call: Call) -> Document:
    given = _given(call)
    made = assessment_of(
        given,
        trace_id=call.path["trace_id"],
        assessment_id=new_assessment_id(),
        now_ms=call.resources.clock.now_ms(),
    )
    async with call.resources.pool.acquire() as connection, connection.transaction():
        await store.create_assessment(connection, made, project=call.project)
    return {"assessment": assessment_document(made)}


async def get(call: Call) -> Document:
    async with call.resources.pool.acquire() as connection:
        found = await store.get_assessment(connection, project=call.project, **_ids(call))
    return {"assessment": assessment_document(found)}


async def update(call: Call) -> Document:
    """Change what the mask names; metadata are added to what is there."""
    given, mask = _given(call), _mask(call)
    async with call.resources.pool.acquire() as connection, connection.transaction():
        before = await store.get_assessment(connection, project=call.project, **_ids(call))
        changed = replace(
            _changed(before, given, mask), last_update_time=call.resources.clock.now_ms()
        )
        await store.replace_assessment(connection, changed)
    return {"assessment": assessment_document(changed)}


async def delete(call: Call) -> Document:
    async with call.resources.pool.acquire() as connection, connection.transaction():
        await store.delete_assessment(connection, project=call.project, **_ids(call))
    return {}


def _changed(before: Assessment, given: Fields, mask: frozenset[str]) -> Assessment:
    after = before
    for kind in ("feedback", "expectation", "issue"):
        if kind in mask:
            after = _with_value(after, given, kind)
    if "assessment_name" in mask:
        name = check_length(
            given.required("assessment_name"), limit=MAX_KEY, what="assessment_name"
        )
        after = replace(after, name=name)
    if "rationale" in mask:
        rationale = check_length(given.text("rationale") or "", limit=MAX_VALUE, what="rationale")
        after = replace(after, rationale=rationale)
    if "metadata" in mask:
        metadata = {**(before.metadata or {}), **given.mapping("metadata")}
        after = replace(after, metadata=metadata)
    return replace(after, valid=given.truth("valid")) if "valid" in mask else after


def _with_value(before: Assessment, given: Fields, kind: AssessmentKind) -> Assessment:
    if before.kind != kind:
        raise InvalidInput(
            f"Cannot update {kind} value on a {before.kind.title()} assessment.", field=kind
        )
    value, error = value_of(given, kind)
    return replace(before, value=value, error=error)


def _given(call: Call) -> Fields:
    given = call.fields.inner("assessment")
    if given is None:
        raise missing("assessment")
    return given


def _mask(call: Call) -> frozenset[str]:
    """Paths of a FieldMask: `a,b` in protobuf's JSON, which writes names in lowerCamelCase."""
    given = call.fields.json("update_mask")
    if isinstance(given, dict):
        paths = given.get("paths")
        given = ",".join(str(path) for path in paths) if isinstance(paths, list) else ""
    if not isinstance(given, str) or not given:
        raise missing("update_mask")
    return frozenset(
        "assessment_name" if path == "assessmentName" else path for path in given.split(",")
    )


def _ids(call: Call) -> dict[str, str]:
    return {"trace_id": call.path["trace_id"], "assessment_id": call.path["assessment_id"]}


ROUTES: Final[RouteTable] = (
    ("POST", "/traces/{trace_id}/assessments", create),
    ("GET", "/traces/{trace_id}/assessments/{assessment_id}", get),
    ("PATCH", "/traces/{trace_id}/assessments/{assessment_id}", update),
    ("DELETE", "/traces/{trace_id}/assessments/{assessment_id}", delete),
)
