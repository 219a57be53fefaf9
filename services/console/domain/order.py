from __future__ import annotations

from collections.abc import Iterable

from services.console.domain.facts import Fact


def causal(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts by time, but none before the one that caused it: clocks of two machines may differ."""
    waiting = sorted(facts, key=lambda fact: fact.rank)
    known = {fact.id: fact for fact in waiting}
    placed: dict[str, Fact] = {}
    for fact in waiting:
        line, ahead = [fact], {fact.id}
        while (cause := known.get(line[-1].causation_id or "")) and cause.id not in ahead:
            if cause.id in placed:
                break
            line.append(cause)
            ahead.add(cause.id)
        placed.update((own.id, own) for own in reversed(line) if own.id not in placed)
    return tuple(placed.values())
