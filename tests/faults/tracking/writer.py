"""A client that logs without pause and, as MLflow's does, sends again what was not answered."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final
from uuid import uuid4

import httpx
import orjson

from tests.faults.tracking.ledger import Ledger, Seen, Write, seen

API: Final = "/api/2.0/mlflow"
_EPOCH_MS: Final = 1_760_000_000_000
_KEYS: Final = 3
_LATE: Final = 0.15
_PARAMS: Final = 0.3
_AGAIN: Final = 0.1
_OVERLAP: Final = 0.1
_GIVES_UP: Final = 0.1
_BACK_OFF: Final = (0.05, 0.3)
_ODD_VALUES: Final = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7976931348623157e308)

Entry = dict[str, str | float | int]


@dataclass(kw_only=True, slots=True)
class Writer:
    """Writes to its own run and to one that it shares; its keys, and so its points, are its own."""

    name: str
    http: httpx.AsyncClient
    run_ids: tuple[str, ...]
    random: Random
    ledger: Ledger
    _numbers: count[int] = field(default_factory=count)
    _before: dict[str, tuple[Entry, ...]] = field(default_factory=dict)

    async def run(self, ending: asyncio.Event) -> None:
        """Until told; the last write is answered or given up first."""
        while not ending.is_set():
            run_id = self.random.choice(self.run_ids)
            write = self._single(run_id) if self.random.random() < 0.5 else self._batch(run_id)
            if await self._send(write) and self.random.random() < _AGAIN:
                self.ledger.resent += 1
                await self._send(write)

    async def _send(self, write: Write) -> bool:
        """Whether it was acknowledged. After an error it is sent again, or the client is gone."""
        while True:
            try:
                answer = await self.http.post(
                    f"{API}/{write.path}",
                    content=write.body,
                    headers={"content-type": "application/json"},
                )
            except httpx.HTTPError:
                pass
            else:
                if answer.status_code == httpx.codes.OK:
                    self.ledger.acknowledge(write)
                    return True
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    self.ledger.refused.append(f"{answer.status_code} {answer.text[:300]}")
            if self.random.random() < _GIVES_UP:
                self.ledger.abandon(write)
                return False
            self.ledger.resent += 1
            await asyncio.sleep(self.random.uniform(*_BACK_OFF))

    def _single(self, run_id: str) -> Write:
        entry = self._entry()
        return Write(
            path="runs/log-metric",
            body=orjson.dumps({"run_id": run_id, **_wire(entry)}),
            run_id=run_id,
            points=(_point(entry),),
        )

    def _batch(self, run_id: str) -> Write:
        """New points, now and then with some of the batch before, and params."""
        entries = tuple(self._entry() for _ in range(self.random.choice((1, 20, 300))))
        if self.random.random() < _OVERLAP:
            entries += self._before.get(run_id, ())[:100]
        self._before[run_id] = entries
        params: tuple[tuple[str, str], ...] = ()
        if self.random.random() < _PARAMS:
            params = ((f"{self.name}-{next(self._numbers)}", uuid4().hex),)
        body = {
            "run_id": run_id,
            "metrics": [_wire(entry) for entry in entries],
            "params": [{"key": key, "value": value} for key, value in params],
        }
        return Write(
            path="runs/log-batch",
            body=orjson.dumps(body),
            run_id=run_id,
            points=tuple(map(_point, entries)),
            params=params,
        )

    def _entry(self) -> Entry:
        """A point that is like no other; some come late, behind all that is stored."""
        number = next(self._numbers)
        step = -number if self.random.random() < _LATE else number
        odd = self.random.random() < 0.02
        value = self.random.choice(_ODD_VALUES) if odd else self.random.gauss(0, 1)
        return {
            "key": f"{self.name}-{self.random.randrange(_KEYS)}",
            "value": value,
            "timestamp": _EPOCH_MS + step,
            "step": step,
        }


def _point(entry: Entry) -> tuple[str, Seen]:
    return str(entry["key"]), seen(
        int(entry["timestamp"]), int(entry["step"]), float(entry["value"])
    )


def _wire(entry: Entry) -> Entry:
    """JSON has no NaN and no infinities: they travel as texts."""
    value = float(entry["value"])
    if math.isfinite(value):
        return entry
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {**entry, "value": name}
