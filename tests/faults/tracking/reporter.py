"""A producer that reports to runs on Kafka, and reports again what was not acknowledged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from aiokafka.errors import KafkaError

from headrace.client import EventProducer
from headrace.events import RunReported
from headrace.events.tracking import MetricColumn
from tests.faults.tracking.ledger import Ledger, Write, seen

_EPOCH_MS: Final = 1_760_000_000_000
_POINTS: Final = (1, 30, 400)
_LATE: Final = 0.15
_AGAIN: Final = 0.1
_GIVES_UP: Final = 0.1
_BACK_OFF: Final = (0.05, 0.3)


@dataclass(kw_only=True, slots=True)
class Reporter:
    """Reports to its own run and to one that it shares; its keys are its own."""

    name: str
    producer: EventProducer
    experiment: str
    run_ids: tuple[str, ...]
    random: Random
    ledger: Ledger
    last: dict[str, Write] = field(default_factory=dict)
    """The last acknowledged report of each run: when it has arrived, all before it have."""
    _numbers: count[int] = field(default_factory=count)

    async def run(self, ending: asyncio.Event) -> None:
        """Until told; the last report is acknowledged or given up first."""
        while not ending.is_set():
            run_id = self.random.choice(self.run_ids)
            column = self._column()
            if await self._send(run_id, column) and self.random.random() < _AGAIN:
                self.ledger.resent += 1
                await self._send(run_id, column)

    async def _send(self, run_id: str, column: MetricColumn) -> bool:
        write = _write(run_id, column)
        report = RunReported(run_id=run_id, experiment=self.experiment, metrics=[column])
        while True:
            try:
                await self.producer.emit(report)
            except (KafkaError, OSError):
                if self.random.random() < _GIVES_UP:
                    self.ledger.abandon(write)
                    return False
                self.ledger.resent += 1
                await asyncio.sleep(self.random.uniform(*_BACK_OFF))
            else:
                self.ledger.acknowledge(write)
                self.last[run_id] = write
                return True

    def _column(self) -> MetricColumn:
        """New points; some come late, behind all that is stored."""
        steps = [self._step() for _ in range(self.random.choice(_POINTS))]
        return MetricColumn(
            key=f"{self.name}-{self.random.randrange(3)}",
            steps=steps,
            timestamps=[_EPOCH_MS + step for step in steps],
            values=[self.random.gauss(0, 1) for _ in steps],
        )

    def _step(self) -> int:
        number = next(self._numbers)
        return -number if self.random.random() < _LATE else number


def _write(run_id: str, column: MetricColumn) -> Write:
    columns = zip(column.timestamps, column.steps, column.values, strict=True)
    points = tuple((column.key, seen(*point)) for point in columns)
    return Write(path="", body=b"", run_id=run_id, points=points)
