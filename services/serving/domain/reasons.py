"""Why something failed, as text that every store and transport takes."""

from __future__ import annotations

from typing import Final

from headrace.errors import HeadraceError

_MOST: Final = 4000


def reason_of(error: Exception) -> str:
    """What an error says; of one that is not ours the type too.

    What neither JSON nor PostgreSQL holds, as names in a model's file may have it, is escaped.
    """
    said = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
    return said.encode(errors="backslashreplace").decode().replace("\0", "\\0")[:_MOST]
