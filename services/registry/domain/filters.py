"""The filter grammar of MLflow's registry search.

    filter := clause (AND clause)*
    clause := key op 'text' | key op number | key [NOT] IN ('a', 'b')
    key    := attribute | tag.name | tags.`any name`

Source: mlflow.utils.search_utils (SearchModelUtils, SearchModelVersionUtils).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from headrace.errors import InvalidInput
from services.registry.domain.search import Clause, Grammar

_MAX_FILTER: Final = 20_000

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


_TEXT_OPS: Final = frozenset({"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"})
_NUMBER_OPS: Final = frozenset({"=", "!=", ">", "<", ">=", "<="})


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


def _kind_at(tokens: Sequence[Token], place: int) -> str:
    return tokens[place].kind if place < len(tokens) else ""


def _is_word(token: Token, word: str) -> bool:
    return token.kind == "word" and token.text.upper() == word


def _invalid_clause(tokens: Sequence[Token]) -> InvalidInput:
    rest = " ".join(token.text for token in tokens)
    return InvalidInput(f"Invalid clause(s) in filter string: {rest}", field="filter")
