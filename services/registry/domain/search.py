"""The search grammar of MLflow's registry calls: filters, orders and page tokens.

    filter := clause (AND clause)*
    clause := key op 'text' | key op number | key [NOT] IN ('a', 'b')
    key    := attribute | tag.name | tags.`any name`

Source: mlflow.utils.search_utils (SearchModelUtils, SearchModelVersionUtils).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from headrace.errors import InvalidInput

PROMPT_TAG: Final = "mlflow.prompt.is_prompt"
_MAX_FILTER: Final = 20_000
_INT64_MAX: Final = 2**63 - 1

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
      | (?P<op>!=|>=|<=|=|>|<)
      | (?P<open>\() | (?P<close>\)) | (?P<comma>,)
      | (?P<word>[A-Za-z_][\w\-/]*(?:\.(?:[\w\-./:]+|`[^`]*`|"[^"]*"))?|`[^`]*`)
    )""",
    re.VERBOSE,
)


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

_TEXT_OPS: Final = frozenset({"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"})
_NUMBER_OPS: Final = frozenset({"=", "!=", ">", "<", ">=", "<="})


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A word of the filter and what sort of word it is."""

    kind: str
    text: str


def parse_filter(text: str, grammar: Grammar) -> list[Clause]:
    """The clauses of a filter. Raises InvalidInput saying which part cannot be read."""
    if len(text) > _MAX_FILTER:
        raise InvalidInput(f"filter: at most {_MAX_FILTER} characters", field="filter")
    tokens = _tokens(text)
    clauses: list[Clause] = []
    place = 0
    while place < len(tokens):
        if clauses:
            if not _is_word(tokens[place], "AND"):
                raise _invalid_clause(tokens[place:])
            place += 1
        clause, place = _clause(tokens, place, grammar)
        clauses.append(clause)
    return clauses


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


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        matched = _TOKEN.match(text, place)
        if matched is None or matched.lastgroup is None:
            raise InvalidInput(
                f"Invalid clause(s) in filter string: {text[place:].strip()}", field="filter"
            )
        tokens.append(Token(kind=matched.lastgroup, text=matched.group(matched.lastgroup)))
        place = matched.end()
    return tokens


def _clause(tokens: Sequence[Token], place: int, grammar: Grammar) -> tuple[Clause, int]:
    left = tokens[place] if place < len(tokens) else None
    if left is None or left.kind not in {"word", "text"}:
        raise _invalid_clause(tokens[place:])
    kind, key = _key(left.text, grammar)
    op, place = _operator(tokens, place + 1)
    if op in {"IN", "NOT IN"}:
        values, place = _list(tokens, place)
        _check_list(kind, key, grammar)
        return Clause(kind=kind, key=key, op=op, value=values), place
    if place >= len(tokens) or tokens[place].kind not in {"text", "number"}:
        raise InvalidInput(
            "Expected a quoted string value for "
            f"{kind} (e.g. 'my-value'). Got value "
            f"{tokens[place].text if place < len(tokens) else 'nothing'}",
            field="filter",
        )
    return Clause(kind=kind, key=key, op=op, value=_value(kind, key, op, tokens[place], grammar)), (
        place + 1
    )


def _key(text: str, grammar: Grammar) -> tuple[Literal["attribute", "tag"], str]:
    entity, dot, key = text.partition(".")
    if not dot or text[0] in "`\"'":
        entity, key = "attribute", text
    if entity not in {"attribute", "tag", "tags"}:
        raise InvalidInput(
            f"Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')",
            field="filter",
        )
    key = key[1:-1] if len(key) >= 2 and key[0] == key[-1] and key[0] in "`\"'" else key
    if entity != "attribute":
        return "tag", key
    if key not in grammar.attributes:
        raise InvalidInput(
            f"Invalid attribute key '{key}' specified. "
            f"Valid keys are '{sorted(grammar.attributes)}'",
            field="filter",
        )
    return "attribute", key


def _operator(tokens: Sequence[Token], place: int) -> tuple[str, int]:
    if place >= len(tokens):
        raise InvalidInput("Invalid comparison clause. Expected 3 tokens found 1", field="filter")
    token = tokens[place]
    word = token.text.upper()
    if token.kind == "op" or (token.kind == "word" and word in {"LIKE", "ILIKE", "IN"}):
        return word, place + 1
    if _is_word(token, "NOT") and place + 1 < len(tokens) and _is_word(tokens[place + 1], "IN"):
        return "NOT IN", place + 2
    raise _invalid_clause(tokens[place - 1 :])


def _list(tokens: Sequence[Token], place: int) -> tuple[tuple[str, ...], int]:
    values: list[str] = []
    expected = "open"
    while place < len(tokens) and tokens[place].kind == expected:
        token = tokens[place]
        place += 1
        if token.kind == "text":
            values.append(_unquoted(token.text))
            expected = "comma" if _kind_at(tokens, place) == "comma" else "close"
        elif token.kind == "close":
            return tuple(values), place
        else:
            expected = "text"
    raise InvalidInput(
        "While parsing a list in the query, expected a non-empty list of string values, "
        "but got ill-formed list.",
        field="filter",
    )


def _check_list(kind: str, key: str, grammar: Grammar) -> None:
    if kind == "tag":
        raise InvalidInput("Invalid comparator for tag: IN", field="filter")
    if key not in grammar.lists:
        raise InvalidInput(
            f"Only {sorted(grammar.lists)} attributes support "
            "comparison with a list of quoted string values.",
            field="filter",
        )


def _value(kind: str, key: str, op: str, token: Token, grammar: Grammar) -> str | int:
    numeric = kind == "attribute" and key in grammar.numbers
    if op not in (_NUMBER_OPS if numeric else _TEXT_OPS):
        named = f"attribute {key}" if numeric else kind
        raise InvalidInput(f"Invalid comparator for {named}: {op}", field="filter")
    if not numeric:
        if token.kind != "text":
            raise InvalidInput(
                "Expected a quoted string value for "
                f"{kind} (e.g. 'my-value'). Got value {token.text}",
                field="filter",
            )
        return _unquoted(token.text)
    digits = _unquoted(token.text) if token.kind == "text" else token.text
    if not re.fullmatch(r"-?\d{1,18}", digits):
        raise InvalidInput(
            f"Invalid value for numeric attribute '{key}': {digits!r}", field="filter"
        )
    return int(digits)


def _unquoted(text: str) -> str:
    return text[1:-1].replace("\\'", "'") if text[0] == "'" else text[1:-1]


def _order_key(word: str, grammar: Grammar) -> str:
    key = word.removeprefix("attribute.")
    if key not in grammar.orders:
        raise InvalidInput(
            f"Invalid order by key '{key}' specified. Valid keys are '{list(grammar.orders)}'",
            field="order_by",
        )
    return "last_updated_timestamp" if key == "timestamp" else key


def _kind_at(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].kind if place < len(tokens) else ""


def _is_word(token: Token, word: str) -> bool:
    return token.kind == "word" and token.text.upper() == word


def _invalid_clause(tokens: Sequence[Token]) -> InvalidInput:
    rest = " ".join(token.text for token in tokens)
    return InvalidInput(f"Invalid clause(s) in filter string: {rest}", field="filter")
