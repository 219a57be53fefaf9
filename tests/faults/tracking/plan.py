"""Who is killed in a round, and when: drawn from one seed, so that it can be drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Victim = Literal["tracking", "postgres", "kafka"]

VICTIMS: Final[tuple[Victim, ...]] = ("tracking", "postgres", "kafka")
_SECONDS: Final = 5.0
_MORE_KILLS: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """SIGKILL, `at` so many seconds into the traffic."""

    at: float
    victim: Victim

    def __str__(self) -> str:
        return f"{self.victim} at {self.at:.2f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One round; traffic goes on for `seconds` after the first write."""

    seed: int
    seconds: float
    kills: tuple[Kill, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.kills))


def draw(seed: int) -> Plan:
    """The plan of a seed; three seeds in a row have each victim among them."""
    random = Random(seed)
    victims = [VICTIMS[seed % len(VICTIMS)]]
    victims += random.choices(VICTIMS, k=random.randint(0, _MORE_KILLS))
    kills = [Kill(at=random.uniform(0.3, _SECONDS - 0.5), victim=victim) for victim in victims]
    return Plan(seed=seed, seconds=_SECONDS, kills=tuple(sorted(kills, key=lambda one: one.at)))
