"""The filter parser: `clause (AND clause)*`, each clause `identifier operator value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.search.grammar import PRESENCE, Field, Grammar

MAX_LENGTH: Final = 20_000
MAX_CLAUSES: Final = 100
_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<text>'[^']*')
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w]))
    | (?P<name>(?:`[^`]*`|"[^"]*"|[A-Za-z_][\w]*)
               (?:\.(?:`[^`]*`|"[^"]*"|[\w\-/:]+))*)
    | (?P<operator>!=|<>|>=|<=|=|>|<)
    | (?P<mark>[(),])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """One comparison. The value is text, a number, several texts (IN) or None (IS NULL)."""

    field: Field
    operator: str
    value: str | float | int | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    def word(self) -> str:
        return self.text.upper() if self.kind == "name" else ""


def parse_filter(text: str | None, grammar: Grammar) -> list[Clause]:
    """The clauses of a filter, all of which must hold. Raises InvalidInput."""
    if not text or not text.strip():
        return []
    if len(text) > MAX_LENGTH:
        raise _invalid(f"Filter string exceeds the maximum length of {MAX_LENGTH} characters")
    tokens = [
        _Token(str(found.lastgroup), found.group())
        for found in _TOKEN.finditer(text)
        if found.lastgroup != "space"
    ]
    clauses: list[Clause] = []
    while tokens:
        clause, tokens = _clause(tokens, grammar)
        clauses.append(clause)
        if len(clauses) > MAX_CLAUSES:
            raise _invalid(f"Filter string has more than {MAX_CLAUSES} clauses")
        if tokens:
            if tokens[0].word() != "AND" or len(tokens) == 1:
                raise _not_a_clause(tokens)
            tokens = tokens[1:]
    return clauses


def split_name(name: str) -> tuple[str | None, str]:
    """Entity and key of an identifier as written; quotes around either fall away."""
    found = re.match(r'(`[^`]*`|"[^"]*"|[^.`"]+)\.(.+)', name, re.DOTALL)
    if found is None:
        return None, _unquoted(name)
    return _unquoted(found.group(1)), _unquoted(found.group(2))


def _clause(tokens: Sequence[_Token], grammar: Grammar) -> tuple[Clause, list[_Token]]:
    if tokens[0].kind != "name":
        raise _not_a_clause(tokens)
    operator, rest = _operator(tokens)
    named = grammar.field(*split_name(tokens[0].text))
    if operator not in grammar.operators(named):
        raise _bad_operator(operator, named, grammar)
    if operator in PRESENCE:
        return Clause(field=named, operator=operator), rest
    if operator in ("IN", "NOT IN"):
        values, rest = _list(rest)
        return Clause(field=named, operator=operator, value=values), rest
    if not rest:
        raise _not_a_clause(tokens)
    value = _number(rest[0], named) if named.numeric else _text(rest, named, grammar)
    return Clause(field=named, operator=operator, value=value), list(rest[1:])


def _operator(tokens: Sequence[_Token]) -> tuple[str, list[_Token]]:
    words = [token.word() for token in tokens[1:4]]
    for phrase in (("IS", "NOT", "NULL"), ("IS", "NULL"), ("NOT", "IN")):
        if tuple(words[: len(phrase)]) == phrase:
            return " ".join(phrase), list(tokens[1 + len(phrase) :])
    if words and words[0] in ("LIKE", "ILIKE", "IN"):
        return words[0], list(tokens[2:])
    if len(tokens) > 1 and tokens[1].kind == "operator":
        return "!=" if tokens[1].text == "<>" else tokens[1].text, list(tokens[2:])
    raise _not_a_clause(tokens)


def _list(tokens: Sequence[_Token]) -> tuple[tuple[str, ...], list[_Token]]:
    if not tokens or tokens[0].text != "(":
        raise _not_a_list("ill-formed list")
    values: list[str] = []
    for place, token in enumerate(tokens[1:], start=1):
        if place % 2 == 0:
            if token.text == ")":
                return tuple(values), list(tokens[place + 1 :])
            if token.text != ",":
                raise _not_a_list("ill-formed list")
        elif token.kind == "text" or _is_double_quoted(token):
            values.append(token.text[1:-1])
        elif token.text == ")":
            if not values:
                raise _not_a_list("empty list")
            return tuple(values), list(tokens[place + 1 :])
        else:
            raise _not_a_list(f"{token.text}")
    raise _not_a_list("ill-formed list")


def _number(token: _Token, named: Field) -> float | int:
    if token.kind != "number":
        if named.entity == "metric":
            raise _invalid(f"Expected numeric value type for metric. Found {token.text}")
        raise _invalid(
            f"Expected numeric value type for numeric attribute: {named.key}. Found {token.text}"
        )
    if named.entity == "attribute" and re.fullmatch(r"[+-]?\d{1,18}", token.text):
        return int(token.text)
    return float(token.text)


def _text(tokens: Sequence[_Token], named: Field, grammar: Grammar) -> str:
    token = tokens[0]
    if token.kind == "text" or _is_double_quoted(token):
        return token.text[1:-1]
    if token.text == "(" and named.entity == "attribute":
        raise _invalid(
            f"Only {sorted(grammar.listed)} attributes support comparison with a list of "
            "quoted string values."
        )
    if token.kind == "name":
        raise _invalid(
            "Parameter value is either not quoted or unidentified quote types used for string "
            f"value {token.text}. Use either single or double quotes."
        )
    if named.entity in ("parameter", "tag"):
        raise _invalid(
            f"Expected a quoted string value for {named.entity} (e.g. 'my-value'). "
            f"Got value {token.text}"
        )
    what = "dataset attributes" if named.entity == "dataset" else "attributes"
    raise _invalid(f"Expected a quoted string value for {what}. Got value {token.text}")


def _bad_operator(operator: str, named: Field, grammar: Grammar) -> InvalidInput:
    if operator in PRESENCE:
        return _invalid(
            "IS NULL / IS NOT NULL is only supported for tags and params, "
            f"not for '{named.entity}' '{named.key}'"
        )
    if operator in ("IN", "NOT IN") and named.entity == "attribute":
        return _invalid(
            f"Only {sorted(grammar.listed)} attributes support comparison with a list of "
            "quoted string values."
        )
    return _invalid(f"Invalid comparator '{operator}' not one of '{grammar.operators(named)}'")


def _is_double_quoted(token: _Token) -> bool:
    return token.kind == "name" and re.fullmatch(r'"[^"]*"', token.text) is not None


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'":
        return text[1:-1]
    return text


def _not_a_clause(tokens: Sequence[_Token]) -> InvalidInput:
    shown = " ".join(token.text for token in tokens)[:200]
    return _invalid(f"Invalid clause(s) in filter string: '{shown}'")


def _not_a_list(what: str) -> InvalidInput:
    return _invalid(
        "While parsing a list in the query, expected a non-empty list of string values, "
        f"but got {what}."
    )


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="filter")
