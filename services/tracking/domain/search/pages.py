"""Page tokens, opaque to clients: base64 of JSON.

`{"offset": N}` as MLflow's, or `{"after": [order, value, start_time, run_id]}`: a place in an
order, which stays where it is when runs come and go, and costs the same however deep it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from headrace.errors import InvalidInput
from services.tracking.domain.search.order import Order

_MOST: Final = 2**53
_LONG: Final = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class After:
    """A place behind a run in an order by one attribute (`value` is the run's) or by none."""

    order: str
    value: str | int | None
    start_time: int
    run_id: str


Position = int | After
"""Where a page begins: behind so many results, or behind a place."""


def place_order(orders: Sequence[Order]) -> str | None:
    """The name of an order that places are kept in, or None if pages of it are counted."""
    if not orders:
        return "default"
    if len(orders) > 1 or orders[0].field.entity != "attribute":
        return None
    return f"{orders[0].field.key} {'asc' if orders[0].ascending else 'desc'}"


def offset_of(token: str | None) -> int:
    """How many results earlier pages held. Raises InvalidInput."""
    return _offset(_parsed(token)) if token else 0


def position_of(token: str | None, orders: Sequence[Order]) -> Position:
    """Where a page begins. Raises InvalidInput, also for a place in another order."""
    if not token:
        return 0
    parsed = _parsed(token)
    if not isinstance(parsed, dict) or "after" not in parsed:
        return _offset(parsed)
    match parsed["after"]:
        case [str(order), str() | int() | None as value, int(start_time), str(run_id)]:
            numbers = [start_time, value if isinstance(value, int) else 0]
            if order == place_order(orders) and all(-_LONG <= one < _LONG for one in numbers):
                _check_kind(parsed, value, orders)
                return After(order=order, value=value, start_time=start_time, run_id=run_id)
    raise _unusable(parsed)


def next_token(offset: int) -> str:
    """The token of the page that begins after `offset` results."""
    return token_of(offset)


def token_of(position: Position) -> str:
    """The token of the page that begins there."""
    if isinstance(position, int):
        return _encoded({"offset": position})
    place = [position.order, position.value, position.start_time, position.run_id]
    return _encoded({"after": place})


def _check_kind(parsed: object, value: str | int | None, orders: Sequence[Order]) -> None:
    kind = int if not orders or orders[0].field.numeric else str
    if value is not None and type(value) is not kind:
        raise _unusable(parsed)


def _encoded(document: object) -> str:
    return base64.b64encode(orjson.dumps(document)).decode()


def _parsed(token: str) -> object:
    try:
        decoded = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("Invalid page token, could not base64-decode") from error
    try:
        parsed: object = orjson.loads(decoded)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"Invalid page token, decoded value={decoded!r}") from error
    return parsed


def _offset(parsed: object) -> int:
    offset = parsed.get("offset") if isinstance(parsed, dict) else None
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 < offset < _MOST:
        raise _unusable(parsed)
    return offset


def _unusable(parsed: object) -> InvalidInput:
    return _invalid(f"Invalid page token, parsed value={parsed}")


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="page_token")
