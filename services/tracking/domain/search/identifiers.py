"""Identifiers as users write them: `entity.key`, `key`, `metrics.min(key)`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

QUOTED: Final = r'`[^`]*`|"[^"]*"'
CALL: Final = rf"[A-Za-z_]\w*\.[A-Za-z_]+\(\s*(?:{QUOTED}|[\w\-/:.]+)\s*\)"
_CALL: Final = re.compile(rf"(\w+)\.(\w+)\(\s*({QUOTED}|[^)]+?)\s*\)", re.DOTALL)
_DOTTED: Final = re.compile(rf'({QUOTED}|[^.`"]+)\.(.+)', re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identifier:
    """What an identifier names; quotes around entity or key have fallen away."""

    entity: str | None
    key: str
    statistic: str | None = None


def identifier_of(text: str) -> Identifier:
    """The parts of an identifier. A key that is quoted as a whole is taken as it is."""
    if found := _CALL.fullmatch(text):
        entity, statistic, key = found.groups()
        return Identifier(entity=entity, key=_unquoted(key), statistic=statistic)
    if found := _DOTTED.fullmatch(text):
        return Identifier(entity=_unquoted(found.group(1)), key=_unquoted(found.group(2)))
    return Identifier(entity=None, key=_unquoted(text))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'":
        return text[1:-1]
    return text
