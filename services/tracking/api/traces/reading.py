"""MLflow's JSON of traces and assessments as entities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import orjson

from headrace.errors import InvalidInput
from headrace.runtime.ids import new_id
from services.tracking.api.fields import Fields, wrong_type
from services.tracking.domain.names import check_length, experiment_number
from services.tracking.domain.traces.entities import (
    KINDS,
    LOCATION_TAG,
    NAME_TAG,
    SPANS_TAG,
    STATES,
    Assessment,
    AssessmentKind,
    NewTrace,
)
from services.tracking.domain.traces.times import duration_milliseconds, milliseconds_of
from services.tracking.domain.values import missing

MAX_KEY: Final = 250
MAX_TRACE_ID: Final = 250
MAX_TAG_VALUE: Final = 8000
MAX_PREVIEW: Final = 10_000
MAX_ASSESSMENTS: Final = 1000
MAX_VALUE: Final = 1024 * 1024
_SOURCES: Final = ("SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE")
_OURS: Final = frozenset({NAME_TAG, LOCATION_TAG, SPANS_TAG})


def new_trace_of(fields: Fields, *, now_ms: int) -> NewTrace:
    """A `TraceInfoV3`. Raises InvalidInput."""
    trace_id = check_length(fields.required("trace_id"), limit=MAX_TRACE_ID, what="trace_id")
    assessments = fields.each("assessments")
    if len(assessments) > MAX_ASSESSMENTS:
        raise InvalidInput(
            f"A trace can be started with at most {MAX_ASSESSMENTS} assessments."
            f" Got {len(assessments)}.",
            field="assessments",
        )
    state = fields.choice("state", STATES, first=0) or STATES[0]
    tags = checked_tags(fields.mapping("tags"), what="tags")
    return NewTrace(
        trace_id=trace_id,
        experiment=_experiment_of(fields),
        request_time=_time(fields, "request_time", now_ms),
        execution_duration=_duration(fields),
        state=next(known for known in STATES if known == state),
        name=tags.get(NAME_TAG),
        client_request_id=_short(fields, "client_request_id", MAX_KEY),
        request_preview=_short(fields, "request_preview", MAX_PREVIEW),
        response_preview=_short(fields, "response_preview", MAX_PREVIEW),
        metadata=checked_tags(fields.mapping("trace_metadata"), what="trace_metadata"),
        tags={key: value for key, value in tags.items() if key not in _OURS},
        assessments=[
            assessment_of(
                given,
                trace_id=trace_id,
                assessment_id=given.text("assessment_id") or _repeatable_id(trace_id, place, given),
                now_ms=now_ms,
            )
            for place, given in enumerate(assessments)
        ],
    )


def experiments_of(locations: list[Fields]) -> list[int]:
    """The experiments among trace locations."""
    found = []
    for location in locations:
        inner = location.inner("mlflow_experiment")
        if inner is not None:
            found.append(experiment_number(inner.required("experiment_id")))
    return found


def checked_tags(tags: Mapping[str, str], *, what: str) -> dict[str, str]:
    """Tags or metadata; a long value is cut at 8000 characters. Raises InvalidInput."""
    for key in tags:
        if not key:
            raise InvalidInput(f"{what}: a key must not be empty.", field=what)
        check_length(key, limit=MAX_KEY, what=f"{what} key")
    return {key: value[:MAX_TAG_VALUE] for key, value in tags.items()}


def new_assessment_id() -> str:
    """An id as MLflow's servers make them."""
    return "a-" + new_id().replace("-", "")


def assessment_of(fields: Fields, *, trace_id: str, assessment_id: str, now_ms: int) -> Assessment:
    """An `Assessment`. Raises InvalidInput."""
    kinds = [kind for kind in KINDS if fields.has(kind)]
    if len(kinds) != 1:
        raise InvalidInput(
            "Exactly one of `expectation`, `feedback`, or `issue` should be specified.",
            field="assessment",
        )
    source = fields.inner("source") or Fields({})
    value, error = value_of(fields, kinds[0])
    name = fields.required("assessment_name")
    return Assessment(
        assessment_id=check_length(assessment_id, limit=MAX_KEY, what="assessment_id"),
        trace_id=trace_id,
        kind=kinds[0],
        name=check_length(name, limit=MAX_KEY, what="assessment_name"),
        source_type=source.choice("source_type", _SOURCES, first=0) or _SOURCES[0],
        source_id=_short(source, "source_id", MAX_TAG_VALUE),
        value=value,
        error=error,
        span_id=_short(fields, "span_id", MAX_KEY),
        rationale=_short(fields, "rationale", MAX_VALUE),
        metadata=fields.mapping("metadata") or None,
        overrides=_short(fields, "overrides", MAX_KEY),
        valid=fields.truth("valid") if fields.has("valid") else True,
        create_time=_time(fields, "create_time", now_ms),
        last_update_time=_time(fields, "last_update_time", now_ms),
    )


def value_of(fields: Fields, kind: AssessmentKind) -> tuple[object, Mapping[str, object] | None]:
    """The value of an assessment and the error that stands in for it. Raises InvalidInput."""
    inner = fields.inner(kind) or Fields({})
    if kind == "issue":
        return inner.text("issue_name") or "", None
    value = inner.json("value")
    serialized = inner.inner("serialized_value")
    if serialized is not None:
        value = _deserialized(serialized)
    if len(orjson.dumps(value, default=str)) > MAX_VALUE:
        raise InvalidInput(f"{kind}.value is larger than {MAX_VALUE} bytes.", field=kind)
    error = inner.inner("error") or fields.inner("error")
    return value, None if error is None else _error(error)


def _deserialized(serialized: Fields) -> object:
    text = serialized.text("value") or "null"
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise wrong_type("expectation.serialized_value.value", text) from error
    return value


def _error(fields: Fields) -> dict[str, object]:
    return {
        name: fields.text(name)
        for name in ("error_code", "error_message", "stack_trace")
        if fields.has(name)
    }


def _experiment_of(fields: Fields) -> int:
    location = fields.inner("trace_location")
    if location is None:
        raise missing("trace_location")
    found = experiments_of([location])
    if not found:
        raise missing("trace_location.mlflow_experiment.experiment_id")
    return found[0]


def _time(fields: Fields, name: str, now_ms: int) -> int:
    text = fields.text(name)
    return now_ms if text is None else milliseconds_of(text, field=name)


def _duration(fields: Fields) -> int | None:
    text = fields.text("execution_duration")
    return None if text is None else duration_milliseconds(text, field="execution_duration")


def _short(fields: Fields, name: str, limit: int) -> str | None:
    text = fields.text(name)
    return None if text is None else check_length(text, limit=limit, what=name)


def _repeatable_id(trace_id: str, place: int, fields: Fields) -> str:
    """The same when the trace is sent again, so that its assessments are not doubled."""
    parts = (trace_id, place, fields.text("assessment_name"), fields.text("create_time"))
    return "a-" + hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
