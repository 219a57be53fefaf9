"""The search grammar of MLflow's registry calls: filters, orders and page tokens.

Source: mlflow.utils.search_utils (SearchModelUtils, SearchModelVersionUtils).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from headrace.errors import InvalidInput

PROMPT_TAG: Final = "mlflow.prompt.is_prompt"
_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """Which attributes one kind of entity may be searched and ordered by."""

    texts: frozenset[str]
    numbers: frozenset[str]
    lists: frozenset[str]
    orders: tuple[str, ...]

    @property
    def attributes(self) -> frozenset[str]:
        return self.texts | self.numbers


MODELS: Final = Grammar(
    texts=frozenset({"name"}),
    numbers=frozenset(),
    lists=frozenset({"name"}),
    orders=("name", "creation_timestamp", "last_updated_timestamp", "timestamp"),
)
VERSIONS: Final = Grammar(
    texts=frozenset({"name", "run_id", "source_path"}),
    numbers=frozenset({"version_number"}),
    lists=frozenset({"name", "run_id"}),
    orders=("name", "version_number", "creation_timestamp", "last_updated_timestamp"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """One comparison; `value` is a tuple for IN and NOT IN."""

    kind: Literal["attribute", "tag"]
    key: str
    op: str
    value: str | int | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One column to order by."""

    key: str
    ascending: bool


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether a model or version with these tags is a prompt."""
    return tags.get(PROMPT_TAG, "false").lower() == "true"


def wants_prompts(clauses: Sequence[Clause]) -> bool:
    """Whether the filter asks for prompts; else they are hidden."""
    for clause in clauses:
        if clause.kind == "tag" and clause.key == PROMPT_TAG:
            value = str(clause.value).lower()
            return (clause.op == "=" and value == "true") or (
                clause.op == "!=" and value == "false"
            )
    return False


def parse_order(clauses: Sequence[str], grammar: Grammar) -> list[Order]:
    """`<key> [ASC|DESC]` of each clause. Raises InvalidInput for unknown or repeated keys."""
    orders: list[Order] = []
    for clause in clauses:
        words = clause.replace("`", "").split()
        if not words or len(words) > 2:
            raise InvalidInput(
                f"Invalid order_by clause '{clause}'. Could not be parsed.", field="order_by"
            )
        direction = words[1].lower() if len(words) == 2 else "asc"
        if direction not in {"asc", "desc"}:
            raise InvalidInput(
                f"Invalid ordering key in order_by clause '{clause}'.", field="order_by"
            )
        orders.append(Order(key=_order_key(words[0], grammar), ascending=direction == "asc"))
    if len({order.key for order in orders}) != len(orders):
        raise InvalidInput(
            f"`order_by` contains duplicate fields: {list(clauses)}", field="order_by"
        )
    return orders


def page_offset(token: str) -> int:
    """Offset inside a page token. Raises InvalidInput for a token that we did not make."""
    if not token:
        return 0
    try:
        decoded = base64.b64decode(token)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            "Invalid page token, could not base64-decode", field="page_token"
        ) from None
    try:
        parsed = json.loads(decoded)
    except ValueError:
        raise InvalidInput(
            f"Invalid page token, decoded value={decoded!r}", field="page_token"
        ) from None
    offset = parsed.get("offset") if isinstance(parsed, Mapping) else None
    if not isinstance(offset, int) or not 0 < offset <= _INT64_MAX:
        raise InvalidInput(f"Invalid page token, parsed value={parsed}", field="page_token")
    return offset


def page_token(offset: int) -> str:
    """Token of the page that begins at `offset`."""
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()


def _order_key(word: str, grammar: Grammar) -> str:
    key = word.removeprefix("attribute.")
    if key not in grammar.orders:
        raise InvalidInput(
            f"Invalid order by key '{key}' specified. Valid keys are '{list(grammar.orders)}'",
            field="order_by",
        )
    return "last_updated_timestamp" if key == "timestamp" else key
