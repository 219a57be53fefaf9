"""Puts predictions beside what was told of them, whichever comes first, and adds them up.

Predictions come from the workers on their way to Kafka, since no service reads events that it
writes; what a crash loses of them is missed by all arms alike. Labels and rewards come by the
consumer. What came first is forgotten after a while, so that the rows stay bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

import numpy as np

from headrace.events import LabelObserved, PredictionLogged, RewardObserved
from headrace.runtime.bus import Bus, Event, Tx
from headrace.runtime.telemetry import Log
from services.serving.control.traffic.driving import watched
from services.serving.domain.judging import Judged, Source
from services.serving.store import outcomes
from services.serving.store.outcomes import Predicted

_DTYPES: Final = {"FP32": "<f4", "FP64": "<f8"}
_MAX_WAITING: Final = 200_000
_PAUSE: Final = 0.5
_PRUNED_AT_ONCE: Final = 20_000


class Outcomes:
    """Bounded memory of predictions that wait to be noted."""

    def __init__(self, *, project: str, bus: Bus, horizon: timedelta, log: Log) -> None:
        """What is told of a prediction later than `horizon` does not count."""
        self._project = project
        self._bus = bus
        self._horizon = horizon
        self._log = log
        self._watched: Mapping[str, Judged] = {}
        self._decided: dict[str, int] = {}
        """Newest tables of models of which it is known whether they are watched."""
        self._waiting: deque[Predicted] = deque(maxlen=_MAX_WAITING)

    def heard(self, record: PredictionLogged) -> None:
        """A micro-batch was published. Failures and routes that no probability chose do not count.

        Those under a table that is new are kept until it is known whether they are wanted.
        """
        if record.error or record.table_version == 0 or record.propensity <= 0:
            return
        known = record.table_version <= self._decided.get(record.model, 0)
        if not known or self._covers(record.model, record.table_version):
            self._waiting.extend(_predictions(record))

    def _covers(self, model: str, table: int) -> bool:
        judged = self._watched.get(model)
        return judged is not None and judged.covers(table)

    async def run(self) -> None:
        """Until cancelled; what fails is tried again."""
        while True:
            try:
                await self.settle()
            except Exception as error:
                self._log.warning("outcomes_interrupted", reason=repr(error))
            await asyncio.sleep(_PAUSE)

    async def settle(self) -> None:
        """Note what waits, count what is whole, forget what is old."""
        taken = list(self._waiting)
        self._waiting.clear()
        try:
            async with self._bus.transaction() as tx:
                await self._settle(tx, taken)
        except BaseException:
            self._waiting.extendleft(reversed(taken))
            raise

    async def _settle(self, tx: Tx, taken: Sequence[Predicted]) -> None:
        judged = await watched(tx.connection, project=self._project)
        self._watched = {each.model: each for each in judged}
        wanted = [each for each in taken if self._covers(each.model, each.table_version)]
        for each in taken:
            self._decided[each.model] = max(each.table_version, self._decided.get(each.model, 0))
        if wanted:
            await outcomes.note_predictions(tx.connection, wanted)
        for model in judged:
            await outcomes.count(tx.connection, project=self._project, judged=model)
        await outcomes.prune(
            tx.connection, project=self._project, horizon=self._horizon, limit=_PRUNED_AT_ONCE
        )

    async def on_labels(self, events: Sequence[Event[LabelObserved]], tx: Tx) -> None:
        """Labels of models that are judged by them."""
        models = await self._judged_by(tx, "label")
        await self._note(tx, [_labelled(event.data) for event in events], models)

    async def on_rewards(self, events: Sequence[Event[RewardObserved]], tx: Tx) -> None:
        """Rewards of models that are judged by them."""
        models = await self._judged_by(tx, "reward")
        await self._note(tx, [_rewarded(event.data) for event in events], models)

    async def _judged_by(self, tx: Tx, source: Source) -> frozenset[str]:
        judged = await watched(tx.connection, project=self._project)
        return frozenset(each.model for each in judged if each.measure.source == source)

    async def _note(
        self, tx: Tx, told: Sequence[tuple[str, str, str, float]], models: frozenset[str]
    ) -> None:
        wanted = [each for each in told if each[0] == self._project and each[1] in models]
        if wanted:
            await outcomes.note_told(tx.connection, wanted)


def _labelled(data: LabelObserved) -> tuple[str, str, str, float]:
    return data.project, data.model, data.prediction_id, data.label


def _rewarded(data: RewardObserved) -> tuple[str, str, str, float]:
    return data.project, data.model, data.prediction_id, data.reward


def _predictions(record: PredictionLogged) -> Iterator[Predicted]:
    """One a row: the last value of the first real-valued output."""
    for prediction_id, score in zip(record.prediction_ids, _scores(record), strict=True):
        yield Predicted(
            project=record.project,
            model=record.model,
            prediction_id=prediction_id,
            table_version=record.table_version,
            arm=record.arm,
            score=score,
        )


def _scores(record: PredictionLogged) -> list[float]:
    """NaN where there is no such output: rewards count without."""
    rows = len(record.prediction_ids)
    output = next((each for each in record.outputs if each.datatype in _DTYPES), None)
    if output is None or not output.data:
        return [float("nan")] * rows
    values = np.frombuffer(output.data, _DTYPES[output.datatype]).reshape(rows, -1)
    return [float(value) for value in values[:, -1]]
