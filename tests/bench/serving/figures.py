"""What was measured, beside what was promised and what the peers reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.tracking.figures import Goal, number

PEERS = ("mlserver", "kserve")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; `times` is how often the best peer's figure ours must be."""

    what: str
    unit: str
    ours: float
    goal: Goal | None = None
    peers: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times better than the best peer."""
        if not self.peers or not self.ours:
            return None
        if self.goal is not None and self.goal.better == "less":
            return min(self.peers.values()) / self.ours
        return self.ours / max(self.peers.values())

    @property
    def met(self) -> bool | None:
        """Whether what must be reached is; None without a promise."""
        goal = self.goal
        if goal is None or (goal.must is None and (goal.ratio is None or self.ratio is None)):
            return None
        enough = True
        if goal.must is not None:
            enough = self.ours <= goal.must if goal.better == "less" else self.ours >= goal.must
        if goal.ratio is not None and self.ratio is not None:
            enough = enough and self.ratio >= goal.ratio
        return enough


def table(rows: Sequence[Row]) -> str:
    """Markdown; the last column says whether what must be reached is."""
    lines = [
        f"| figure | unit | ours | {' | '.join(PEERS)} | times better | must | aim | |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        goal = row.goal or Goal(better="more")
        sign = "≤" if goal.better == "less" else "≥"
        must = [f"{sign} {number(goal.must)}"] if goal.must is not None else []
        must += [f"≥ {number(goal.ratio)}x"] if goal.ratio is not None else []
        cells = [
            *(row.what, row.unit, number(row.ours)),
            *(number(row.peers.get(peer)) for peer in PEERS),
            "" if row.ratio is None else f"{number(row.ratio)}x",
            *(" and ".join(must), number(goal.aim)),
            {True: "met", False: "MISSED", None: ""}[row.met],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
