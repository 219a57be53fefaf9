"""The trace side of the search language, and what spans are asked."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.errors import InvalidInput
from services.tracking.domain.traces.correlation import normalized_pmi
from services.tracking.domain.traces.matching import regex_texts, some_span
from services.tracking.domain.traces.search import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Clause,
    Not,
    OneSpan,
    parse_filter,
    parse_order,
)
from services.tracking.domain.traces.times import (
    duration,
    duration_milliseconds,
    milliseconds_of,
    timestamp,
)


def a_span(name: str = "work", **attributes: str) -> Span:
    span = Span(name=name)
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
    return span


def asked_of_spans(text: str) -> OneSpan:
    condition = parse_filter(text)
    assert isinstance(condition, OneSpan)
    return condition


def test_clauses_on_spans_side_by_side_are_meant_of_one_span() -> None:
    condition = parse_filter("span.name = 'a' AND status = 'OK' AND span.type = 'LLM'")
    assert isinstance(condition, AllOf)
    assert [type(part) for part in condition.parts] == [Clause, OneSpan]
    asked = condition.parts[1]
    assert isinstance(asked, OneSpan)
    assert [clause.value for clause in asked.clauses] == ["a", "LLM"]


def test_and_binds_closer_than_or_and_not_closest() -> None:
    condition = parse_filter("name = 'a' OR NOT name = 'b' AND name = 'c'")
    assert isinstance(condition, AnyOf)
    assert isinstance(condition.parts[0], Clause)
    second = condition.parts[1]
    assert isinstance(second, AllOf)
    assert [type(part) for part in second.parts] == [Not, Clause]


def test_no_filter_is_everything() -> None:
    assert parse_filter(None) == parse_filter("  ") == EVERYTHING


@pytest.mark.parametrize("text", ["(" * 40 + "name = 'a'" + ")" * 40, "NOT " * 40 + "name = 'a'"])
def test_a_filter_has_a_depth(text: str) -> None:
    with pytest.raises(InvalidInput, match="nested"):
        parse_filter(text)


def test_a_filter_has_a_size() -> None:
    with pytest.raises(InvalidInput, match="more than 100 clauses"):
        parse_filter(" AND ".join(["name = 'a'"] * 101))


def test_an_order_knows_its_direction() -> None:
    orders = parse_order(["timestamp", "tag.`a b` DESC"])
    assert [(order.field.key, order.ascending) for order in orders] == [
        ("timestamp_ms", True),
        ("a b", False),
    ]


@given(
    text=st.text(alphabet="ab%_\n", max_size=12),
    pattern=st.text(alphabet="ab%_", max_size=8),
)
@example(text="a" * 3000 + "b", pattern="%a" * 20 + "%c")
@example(text="ab", pattern="ab%b")
def test_like_is_sqls(text: str, pattern: str) -> None:
    squeezed = re.sub("%+", "%", pattern)
    meaning = "".join({"%": ".*", "_": "."}.get(mark, mark) for mark in squeezed)
    expected = len(text) < 100 and re.fullmatch(meaning, text, re.DOTALL) is not None
    assert some_span([a_span(text)], asked_of_spans(f"span.name LIKE '{pattern}'"), {}) == expected


@given(text=st.text(alphabet="aAb", max_size=6), pattern=st.text(alphabet="aAb%", max_size=5))
def test_ilike_passes_over_case(text: str, pattern: str) -> None:
    spans = [a_span(text)]
    loosely = some_span(spans, asked_of_spans(f"span.name ILIKE '{pattern}'"), {})
    lowered = asked_of_spans(f"span.name LIKE '{pattern.lower()}'")
    assert loosely == some_span([a_span(text.lower())], lowered, {})


def test_all_clauses_must_hold_for_the_same_span() -> None:
    asked = asked_of_spans("span.name = 'a' AND span.attributes.k = 'v'")
    assert not some_span([a_span("a"), a_span("b", k="v")], asked, {})
    assert some_span([a_span("b"), a_span("a", k="v")], asked, {})


def test_a_missing_attribute_satisfies_nothing() -> None:
    for operator in ("= 'v'", "!= 'v'", "LIKE '%'", "NOT IN ('v')"):
        assert not some_span([a_span()], asked_of_spans(f"span.attributes.k {operator}"), {})


def test_the_status_of_a_span_is_a_word() -> None:
    failed = Span(status=Status(code=Status.STATUS_CODE_ERROR))
    assert some_span([failed], asked_of_spans("span.status = 'ERROR'"), {})
    assert some_span([Span()], asked_of_spans("span.status IN ('UNSET')"), {})


def test_regular_expressions_are_left_to_others() -> None:
    asked = asked_of_spans("span.name RLIKE 'w.*k'")
    spans = [a_span("work"), a_span("walk")]
    assert list(regex_texts(spans, [asked])) == [("w.*k", "work"), ("w.*k", "walk")]
    assert some_span(spans, asked, {"w.*k": frozenset({"walk"})})
    assert not some_span(spans, asked, {})


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_survives_its_text(milliseconds: int) -> None:
    assert milliseconds_of(timestamp(milliseconds), field="t") == milliseconds


@given(st.integers(-(10**14), 10**14))
def test_a_duration_survives_its_text(milliseconds: int) -> None:
    assert duration_milliseconds(duration(milliseconds), field="d") == milliseconds


def test_times_of_other_offsets_and_finer_grain_are_read() -> None:
    assert milliseconds_of("1970-01-01T01:00:01.123456789+01:00", field="t") == 1123


@given(
    cells=st.tuples(*[st.integers(0, 50)] * 4),
    smoothing=st.sampled_from([0.0, 0.5]),
)
def test_correlation_lies_between_minus_one_and_one(
    cells: tuple[int, int, int, int], smoothing: float
) -> None:
    both, first_only, second_only, _ = cells
    value = normalized_pmi(
        joint=both,
        first=both + first_only,
        second=both + second_only,
        total=sum(cells),
        smoothing=smoothing,
    )
    found_never = not (both + first_only and both + second_only)
    assert found_never == (value != value)  # noqa: PLR0124
    assert found_never or -1 <= value <= 1
