"""What was measured, beside what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from tests.bench.tracking.load import Answers
from tests.bench.tracking.meter import Cpu

Better = Literal["more", "less"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What must be reached, and what is aimed at; `ratio` is how many times the peer's figure."""

    better: Better
    must: float | None = None
    aim: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    unit: str
    ours: float
    peer: float | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def times(self) -> float | None:
        """How many times better ours is, in the direction of the goal."""
        if self.peer is None or not self.peer or not self.ours:
            return None
        less = self.goal is not None and self.goal.better == "less"
        return self.peer / self.ours if less else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether what must be reached is; None without a promise, or a peer for its ratio."""
        goal = self.goal
        if goal is None or (goal.must is None and (goal.ratio is None or self.times is None)):
            return None
        enough = True
        if goal.must is not None:
            enough = self.ours >= goal.must if goal.better == "more" else self.ours <= goal.must
        if goal.ratio is not None and self.times is not None:
            enough = enough and self.times >= goal.ratio
        return enough


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One server under one load."""

    answers: Answers
    cpu: Cpu
    memory: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All samples of one server in a phase; `each` is how many points an operation carries."""

    phase: str
    server: str
    samples: Sequence[Sample]
    each: int = 1

    @property
    def operations(self) -> int:
        return sum(sample.answers.count for sample in self.samples)

    @property
    def per_second(self) -> float:
        """Points, or operations that carry none."""
        seconds = sum(sample.answers.seconds for sample in self.samples)
        return self.operations * self.each / seconds

    @property
    def cpu(self) -> Cpu:
        return sum((sample.cpu for sample in self.samples), Cpu())

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor time for one operation: server, database and broker."""
        return self.cpu.total * 1e3 / self.operations

    @property
    def memory(self) -> int:
        return max(sample.memory for sample in self.samples)

    def at(self, percentile: float) -> float:
        """Milliseconds of an answer, all samples together."""
        times = np.concatenate([sample.answers.milliseconds for sample in self.samples])
        return float(np.percentile(times, percentile))

    def document(self) -> dict[str, object]:
        """For the file that programs read, and for the table of details."""
        load_cpu = sum(sample.answers.cpu for sample in self.samples)
        seconds = sum(sample.answers.seconds for sample in self.samples)
        parts = {f"{name}_ms": s * 1e3 / self.operations for name, s in asdict(self.cpu).items()}
        return {
            "phase": self.phase,
            "server": self.server,
            "operations": self.operations,
            "per_second": self.per_second,
            "p50_ms": self.at(50),
            "p95_ms": self.at(95),
            "p99_ms": self.at(99),
            "cpu_ms": self.cpu_ms,
            **parts,
            "load_cpu_share": load_cpu / seconds,
            "memory_mb": self.memory / 1e6,
        }


def table(rows: Sequence[Row]) -> str:
    """Markdown; the last column says whether what must be reached is."""
    lines = [
        "| figure | unit | ours | MLflow | times better | must | aim | |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        goal = row.goal or Goal(better="more")
        sign = "≥" if goal.better == "more" else "≤"
        must = [f"{sign} {number(goal.must)}"] if goal.must is not None else []
        must += [f"≥ {number(goal.ratio)}x"] if goal.ratio is not None else []
        times = "" if row.times is None else f"{number(row.times)}x"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        cells = [
            *(row.what, row.unit, number(row.ours), number(row.peer), times),
            *(" and ".join(must), number(goal.aim), " ".join(filter(None, (verdict, row.note)))),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def details(measured: Sequence[Measured]) -> str:
    """Markdown; one line for each server in each phase of load."""
    columns = {
        "per_second": "per s",
        "p50_ms": "p50 ms",
        "p95_ms": "p95 ms",
        "p99_ms": "p99 ms",
        "cpu_ms": "CPU ms/op",
        "service_ms": "service",
        "postgres_ms": "PostgreSQL",
        "kafka_ms": "Kafka",
        "load_cpu_share": "load's core",
        "memory_mb": "MB",
    }
    lines = [
        f"| phase | server | operations | {' | '.join(columns.values())} |",
        f"|---|---|{'--:|' * (len(columns) + 1)}",
    ]
    for one in measured:
        found = one.document()
        cells = [str(found[name]) for name in ("phase", "server", "operations")]
        for name in columns:
            value = found[name]
            assert isinstance(value, float)
            cells.append(number(value))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three figures, thousands set apart; nothing for nothing."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
