"""Values of span attributes: OTLP's AnyValue as Python values, as JSON, as short text."""

from __future__ import annotations

import base64
from typing import Final

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

MAX_PREVIEW: Final = 1000
_MOST_NODES: Final = 2000
_MOST_DEPTH: Final = 64


def plain(value: AnyValue) -> object:
    """The value as Python has it; bytes as base64 text."""
    return _plain(value, [_MOST_NODES * 1000], 0)


def preview(value: AnyValue) -> str | None:
    """The value as JSON (a text as it is), cut at 1000 characters; None if there is none."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "string_value":
        return cut(printable(value.string_value[: MAX_PREVIEW + 1]))
    text = orjson.dumps(_plain(value, [_MOST_NODES], 0), default=str).decode()
    return cut(printable(text))


def cut(text: str) -> str:
    """A text of at most 1000 characters."""
    return text if len(text) <= MAX_PREVIEW else text[: MAX_PREVIEW - 3] + "..."


def printable(text: str) -> str:
    """A text that PostgreSQL can hold."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _plain(value: AnyValue, budget: list[int], depth: int) -> object:
    kind = value.WhichOneof("value")
    budget[0] -= 1
    if kind is None or budget[0] < 0 or depth > _MOST_DEPTH:
        return None
    if kind == "array_value":
        return [
            _plain(item, budget, depth + 1) for item in value.array_value.values if budget[0] > 0
        ]
    if kind == "kvlist_value":
        return {
            item.key: _plain(item.value, budget, depth + 1)
            for item in value.kvlist_value.values
            if budget[0] > 0
        }
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    simple: object = getattr(value, kind)
    return simple
