"""What a field is compared with, and MLflow's errors where it does not fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.domain.search.conditions import Value
from services.tracking.domain.search.grammar import Field, Grammar
from services.tracking.domain.search.tokens import END, Token, Tokens, refused

_LONG: Final = re.compile(r"[+-]?\d{1,18}")
_IN_LIST: Final = "While parsing a list in the query, expected "


def single_value(tokens: Tokens, named: Field, grammar: Grammar) -> Value:
    """The value of a comparison. Raises InvalidInput."""
    token = tokens.peek()
    if token is END:
        raise tokens.not_a_clause(since=2)
    tokens.take()
    if named.numeric:
        if token.kind != "number":
            raise _not_numeric(named, token.text)
        return _number(token, named)
    text = token.quoted
    if text is None:
        raise _not_text(named, token, grammar)
    return text


def number_value(tokens: Tokens) -> float:
    """A number that is there."""
    token = tokens.peek()
    tokens.take()
    return float(token.text)


def listed_values(tokens: Tokens, named: Field) -> Value:
    """The values of IN: texts, or numbers for what is a number or a param. Raises InvalidInput."""
    if tokens.peek().text != "(":
        raise refused(f"{_IN_LIST}a non-empty list of string values, but got ill-formed list.")
    tokens.take()
    entries = _entries(tokens)
    shown = "(" + ", ".join(token.text for token in entries) + ")"
    numbers = all(token.kind == "number" for token in entries)
    if named.numeric and not numbers:
        raise _not_numeric(named, shown)
    if named.numeric:
        return tuple(_number(token, named) for token in entries)
    if named.entity == "parameter" and numbers:
        return tuple(float(token.text) for token in entries)
    texts = [token.quoted for token in entries]
    if None in texts:
        raise refused(
            f"{_IN_LIST}string value, punctuation, or whitespace, "
            f"but got different type in list: {shown}"
        )
    return tuple(text for text in texts if text is not None)


def no_operator(operator: str, named: Field, grammar: Grammar, tokens: Tokens) -> InvalidInput:
    """MLflow's error for an operator that does not work on a field."""
    if operator in ("IN", "NOT IN"):
        if named.entity == "attribute":
            return _not_listed(grammar)
        shown = "(" + ", ".join(token.text for token in _entries_after(tokens)) + ")"
        return _want_quoted(f"{named.entity} (e.g. 'my-value')", shown)
    if operator in ("IS NULL", "IS NOT NULL"):
        return refused(
            "IS NULL / IS NOT NULL is only supported for tags and params, "
            f"not for '{named.entity}' '{named.key}'"
        )
    return refused(f"Invalid comparator '{operator}' not one of '{grammar.operators(named)}'")


def _entries_after(tokens: Tokens) -> Sequence[Token]:
    tokens.take()
    return [token for token in tokens.upto(")") if token.text != ","]


def _entries(tokens: Tokens) -> Sequence[Token]:
    """The entries of a list, its opening mark taken; a comma may stand behind the last."""
    inside = tokens.upto(")")
    if not inside:
        raise refused(f"{_IN_LIST}a non-empty list of string values, but got empty list")
    entries, marks = inside[::2], inside[1::2]
    if any(token.text != "," for token in marks) or any(token.text == "," for token in entries):
        raise refused(f"{_IN_LIST}a non-empty list of string values, but got ill-formed list.")
    return entries


def _number(token: Token, named: Field) -> float | int:
    if named.entity == "attribute" and _LONG.fullmatch(token.text):
        return int(token.text)
    return float(token.text)


def _not_numeric(named: Field, shown: str) -> InvalidInput:
    if named.entity == "metric":
        return refused(f"Expected numeric value type for metric. Found {shown}")
    return refused(f"Expected numeric value type for numeric attribute: {named.key}. Found {shown}")


def _not_text(named: Field, token: Token, grammar: Grammar) -> InvalidInput:
    if token.text == "(" and named.entity == "attribute":
        return _not_listed(grammar)
    if token.is_identifier:
        return refused(
            "Parameter value is either not quoted or unidentified quote types used for string "
            f"value {token.text}. Use either single or double quotes."
        )
    if named.entity in ("parameter", "tag"):
        return _want_quoted(f"{named.entity} (e.g. 'my-value')", token.text)
    return _want_quoted(
        "dataset attributes" if named.entity == "dataset" else "attributes", token.text
    )


def _want_quoted(what: str, shown: str) -> InvalidInput:
    return refused(f"Expected a quoted string value for {what}. Got value {shown}")


def _not_listed(grammar: Grammar) -> InvalidInput:
    return refused(
        f"Only {sorted(grammar.listed)} attributes support comparison with a list of "
        "quoted string values."
    )
