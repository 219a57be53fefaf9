"""Whether spans are as a filter asks: what PostgreSQL cannot see inside a block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.tracking.domain.traces.search import Clause, OneSpan
from services.tracking.domain.traces.values import plain

_STATUS: Final = {
    Status.STATUS_CODE_UNSET: "UNSET",
    Status.STATUS_CODE_OK: "OK",
    Status.STATUS_CODE_ERROR: "ERROR",
}
_TYPE: Final = "mlflow.spanType"
_ATTRIBUTE: Final = "attributes."

Regexes = Mapping[str, frozenset[str]]
"""For each regular expression the texts in which it is found; PostgreSQL looked for it."""


def some_span(spans: Iterable[Span], asked: OneSpan, regexes: Regexes) -> bool:
    """Whether there is a span for which all clauses hold."""
    return any(all(_holds(span, clause, regexes) for clause in asked.clauses) for span in spans)


def regex_texts(spans: Sequence[Span], asked: Iterable[OneSpan]) -> Iterator[tuple[str, str]]:
    """The regular expressions in a filter with all texts that they are asked of."""
    for one in asked:
        for clause in one.clauses:
            if clause.operator == "RLIKE":
                for span in spans:
                    for text in _texts(span, clause.field.key):
                        yield str(clause.value), text


def _holds(span: Span, clause: Clause, regexes: Regexes) -> bool:
    texts = _texts(span, clause.field.key)
    if clause.operator in ("!=", "NOT IN"):
        return bool(texts) and not any(_is(text, clause) for text in texts)
    if clause.operator == "RLIKE":
        return any(text in regexes.get(str(clause.value), ()) for text in texts)
    if clause.operator in ("LIKE", "ILIKE"):
        like = _like(str(clause.value), ignore_case=clause.operator == "ILIKE")
        return any(like(text) for text in texts)
    return any(_is(text, clause) for text in texts)


def _is(text: str, clause: Clause) -> bool:
    return text in clause.value if isinstance(clause.value, tuple) else text == clause.value


def _texts(span: Span, key: str) -> Sequence[str]:
    """What a field of a span may be called; nothing if the span does not have it."""
    if key == "name":
        return (span.name,)
    if key == "status":
        return (_STATUS.get(span.status.code, "UNSET"),)
    if key == "type":
        return _attribute_texts(span, _TYPE) or ("UNKNOWN",)
    if key == "content":
        return (_content(span),)
    return _attribute_texts(span, key[len(_ATTRIBUTE) :])


def _attribute_texts(span: Span, key: str) -> Sequence[str]:
    """A text as it is and as JSON, anything else as JSON."""
    for attribute in span.attributes:
        if attribute.key == key:
            value = plain(attribute.value)
            as_json = orjson.dumps(value, default=str).decode()
            return (value, as_json) if isinstance(value, str) else (as_json,)
    return ()


def _content(span: Span) -> str:
    attributes = {attribute.key: plain(attribute.value) for attribute in span.attributes}
    events = [
        {
            "name": event.name,
            "attributes": {one.key: plain(one.value) for one in event.attributes},
        }
        for event in span.events
    ]
    content = {"name": span.name, "attributes": attributes, "events": events}
    return orjson.dumps(content, default=str).decode()


@lru_cache(maxsize=64)
def _like(pattern: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """SQL's LIKE without an escape character, in time linear in the text.

    Between two `%` the leftmost place is always right, so nothing is ever tried twice.
    """
    first, *rest = [_segment(part, ignore_case=ignore_case) for part in pattern.split("%")]
    last_length = len(pattern.rpartition("%")[2])

    def like(text: str) -> bool:
        if not rest:
            return first.fullmatch(text) is not None
        found = first.match(text)
        for middle in rest[:-1]:
            found = middle.search(text, found.end()) if found else None
        start = len(text) - last_length
        return found is not None and start >= found.end() and bool(rest[-1].match(text, start))

    return like


def _segment(part: str, *, ignore_case: bool) -> re.Pattern[str]:
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return re.compile("".join("." if mark == "_" else re.escape(mark) for mark in part), flags)
