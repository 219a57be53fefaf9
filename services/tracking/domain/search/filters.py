"""The filter parser. MLflow's language is clauses joined by AND; OR, NOT and () come on top.

filter  = all (OR all)*
all     = one (AND one)*
one     = NOT one | "(" filter ")" | clause
clause  = identifier operator value
"""

from __future__ import annotations

from typing import Final

from services.tracking.domain.search.conditions import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Not,
)
from services.tracking.domain.search.grammar import PRESENCE, RANGE, Field, Grammar
from services.tracking.domain.search.identifiers import identifier_of
from services.tracking.domain.search.tokens import END, Tokens, refused
from services.tracking.domain.search.values import (
    listed_values,
    no_operator,
    number_value,
    single_value,
)

MAX_CLAUSES: Final = 100
MAX_DEPTH: Final = 32
_PHRASES: Final = (
    ("IS", "NOT", "NULL"),
    ("IS", "NULL"),
    ("NOT", "IN"),
    ("IN",),
    ("LIKE",),
    ("ILIKE",),
)


def parse_filter(text: str | None, grammar: Grammar) -> Condition:
    """What a filter asks for; EVERYTHING if it is empty. Raises InvalidInput."""
    if not text or not text.strip():
        return EVERYTHING
    parser = _Parser(Tokens(text), grammar)
    return parser.whole()


class _Parser:
    def __init__(self, tokens: Tokens, grammar: Grammar) -> None:
        self._tokens = tokens
        self._grammar = grammar
        self._clauses = 0

    def whole(self) -> Condition:
        condition = self._any(depth=0)
        if self._tokens.peek() is not END:
            raise self._tokens.not_a_clause()
        return condition

    def _any(self, *, depth: int) -> Condition:
        choices = self._tokens.joined("OR", lambda: self._all(depth=depth))
        return choices[0] if len(choices) == 1 else AnyOf(of=tuple(choices))

    def _all(self, *, depth: int) -> Condition:
        parts = self._tokens.joined("AND", lambda: self._one(depth=depth))
        return parts[0] if len(parts) == 1 else AllOf(of=tuple(parts))

    def _one(self, *, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise refused(f"Filter string is nested more than {MAX_DEPTH} deep")
        token = self._tokens.peek()
        if token.word == "NOT":
            self._tokens.take()
            return Not(of=self._one(depth=depth + 1))
        if token.text != "(":
            return self._clause()
        self._tokens.take()
        inside = self._any(depth=depth + 1)
        if self._tokens.peek().text != ")":
            raise self._tokens.not_a_clause()
        self._tokens.take()
        return inside

    def _clause(self) -> Clause:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise refused(f"Filter string has more than {MAX_CLAUSES} clauses")
        tokens = self._tokens
        if not tokens.peek().is_identifier:
            raise tokens.not_a_clause()
        operator, length = tokens.operator(_PHRASES)
        named = self._grammar.field(identifier_of(tokens.peek().text))
        tokens.take(1 + length)
        return self._comparison(named, operator)

    def _comparison(self, named: Field, operator: str) -> Clause:
        if self._compares_numbers(named, operator):
            value = (
                number_value(self._tokens)
                if operator in RANGE
                else listed_values(self._tokens, named)
            )
            return Clause(field=named, operator=operator, value=value)
        if operator not in self._grammar.operators(named):
            raise no_operator(operator, named, self._grammar, self._tokens)
        if operator in PRESENCE:
            return Clause(field=named, operator=operator)
        if operator in ("IN", "NOT IN"):
            listed = listed_values(self._tokens, named)
            return Clause(field=named, operator=operator, value=listed)
        value = single_value(self._tokens, named, self._grammar)
        return Clause(field=named, operator=operator, value=value)

    def _compares_numbers(self, named: Field, operator: str) -> bool:
        """Whether a param is compared as a number, which MLflow cannot."""
        if named.entity != "parameter":
            return False
        if operator in RANGE:
            return self._tokens.peek().kind == "number"
        return operator in ("IN", "NOT IN") and self._tokens.peek(1).kind == "number"
