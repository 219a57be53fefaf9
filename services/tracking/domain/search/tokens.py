"""The words of a filter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from headrace.errors import InvalidInput
from services.tracking.domain.search.identifiers import CALL, QUOTED

PartT = TypeVar("PartT")
MAX_LENGTH: Final = 20_000
_SHOWN: Final = 200
_TOKEN: Final = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<text>'(?:''|[^'])*')
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w]))
    | (?P<call>{CALL})
    | (?P<name>(?:{QUOTED}|[A-Za-z_][\w]*)
               (?:\.(?:{QUOTED}|[\w\-/:]+))*)
    | (?P<operator>!=|<>|>=|<=|=|>|<)
    | (?P<mark>[(),])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word and what kind it is; kind "end" comes after the last."""

    kind: str
    text: str

    @property
    def word(self) -> str:
        """A bare word in capitals, or "" for anything else."""
        return self.text.upper() if self.kind == "name" else ""

    @property
    def is_identifier(self) -> bool:
        """Whether it may name a field."""
        return self.kind in ("name", "call")

    @property
    def quoted(self) -> str | None:
        """What stands in single or double quotes, as it stands there."""
        if self.kind == "text" or re.fullmatch(r'"[^"]*"', self.text):
            return self.text[1:-1]
        return None


END: Final = Token("end", "")


class Tokens:
    """The words of a text, taken one after another."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise refused(f"Filter string exceeds the maximum length of {MAX_LENGTH} characters")
        self._tokens = [
            Token(str(found.lastgroup), found.group())
            for found in _TOKEN.finditer(text)
            if found.lastgroup != "space"
        ]
        self._place = 0

    def peek(self, ahead: int = 0) -> Token:
        """A token that is to come."""
        place = self._place + ahead
        return self._tokens[place] if place < len(self._tokens) else END

    def take(self, count: int = 1) -> None:
        """Go on."""
        self._place += count

    def words(self, count: int, *, ahead: int) -> tuple[str, ...]:
        """The next bare words, in capitals."""
        return tuple(self.peek(ahead + place).word for place in range(count))

    def joined(self, word: str, read: Callable[[], PartT]) -> list[PartT]:
        """Parts that `read` takes, one or more, with the word between them. Raises InvalidInput."""
        parts = [read()]
        while self.peek().word == word:
            if self.peek(1) is END:
                raise self.not_a_clause()
            self.take()
            parts.append(read())
        return parts

    def operator(self, phrases: Sequence[tuple[str, ...]]) -> tuple[str, int]:
        """The operator behind the identifier, one of words or a sign, and how many words it has."""
        for phrase in phrases:
            if self.words(len(phrase), ahead=1) == phrase:
                return " ".join(phrase), len(phrase)
        token = self.peek(1)
        if token.kind != "operator":
            raise self.not_a_clause()
        return "!=" if token.text == "<>" else token.text, 1

    def upto(self, mark: str) -> Sequence[Token]:
        """Take everything up to a mark, and the mark; all that is left if it never comes."""
        start = self._place
        while self.peek() is not END and self.peek().text != mark:
            self.take()
        taken = self._tokens[start : self._place]
        self.take()
        return taken

    def not_a_clause(self, since: int = 0) -> InvalidInput:
        """MLflow's error for what is no comparison, showing it from here on."""
        left = self._tokens[self._place - since :] or self._tokens[-1:]
        shown = " ".join(token.text for token in left)[:_SHOWN]
        return refused(f"Invalid clause(s) in filter string: '{shown}'")


def refused(message: str) -> InvalidInput:
    """An error of the filter."""
    return InvalidInput(message, field="filter")
