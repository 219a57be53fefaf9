"""Who is champion, and who was before."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.events import ModelPromoted
from services.console.domain.facts import CHAMPION, Fact


def rollback_target(facts: Iterable[Fact], model: str) -> int | None:
    """The version that a rollback leads to; None where there is no earlier champion.

    Promotions pile up and a rollback takes off what it rolled back: after a rollback from v3 to
    v2, the next one leads to v1 and not to v3 again.
    """
    pile: list[int] = []
    for fact in sorted(facts, key=lambda own: own.rank):
        match fact.data:
            case ModelPromoted(model=name, alias=alias) if name != model or alias != CHAMPION:
                continue
            case ModelPromoted(cause="rollback", version=version):
                while pile and pile[-1] != version:
                    pile.pop()
            case ModelPromoted(version=version):
                pile.append(version)
    return next((version for version in reversed(pile[:-1]) if version != pile[-1]), None)
