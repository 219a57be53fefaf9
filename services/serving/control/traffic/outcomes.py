"""Puts predictions of a running rollout beside their labels, whichever comes first.

Predictions come from the workers on their way to Kafka, since no service reads a topic that it
writes; what a crash loses of them is missed by both arms alike. Labels come by the consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from headrace.events import LabelObserved, PredictionLogged
from headrace.runtime.bus import Event, Tx
from services.serving.domain.rollouts import Rollout
from services.serving.store import rollouts
from services.serving.store.rollouts import Predicted

_DTYPES: Final = {"FP32": "<f4", "FP64": "<f8"}
_MAX_WAITING: Final = 200_000


class Outcomes:
    """Bounded memory of predictions that wait to be noted; `watch` says which are wanted."""

    def __init__(self, *, project: str) -> None:
        self._project = project
        self._watched: frozenset[tuple[str, int]] = frozenset()
        self._waiting: deque[Predicted] = deque(maxlen=_MAX_WAITING)

    def watch(self, running: Sequence[Rollout]) -> None:
        """Keep predictions under the present tables of these rollouts, where labels count."""
        self._watched = frozenset(
            (rollout.model, rollout.table) for rollout in running if rollout.plan.quality
        )

    def heard(self, record: PredictionLogged) -> None:
        """A micro-batch was published."""
        if (record.model, record.table_version) in self._watched and record.propensity > 0:
            self._waiting.extend(_predictions(record))

    async def flush(self, tx: Tx) -> None:
        """Note what waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        if taken:
            await rollouts.note_predictions(tx.connection, taken)

    async def on_labels(self, events: Sequence[Event[LabelObserved]], tx: Tx) -> None:
        """Labels of models that are being rolled out."""
        running = await rollouts.running(tx.connection, project=self._project)
        models = {rollout.model for rollout in running if rollout.plan.quality}
        labels = [
            (event.data.project, event.data.model, event.data.prediction_id, event.data.label)
            for event in events
            if event.data.project == self._project and event.data.model in models
        ]
        if labels:
            await rollouts.note_labels(tx.connection, labels)


def _predictions(record: PredictionLogged) -> Iterator[Predicted]:
    """One a row: the last value of the first real-valued output."""
    output = next((each for each in record.outputs if each.datatype in _DTYPES), None)
    rows = len(record.prediction_ids)
    if output is None or not rows:
        return
    values = np.frombuffer(output.data, _DTYPES[output.datatype]).reshape(rows, -1)
    for prediction_id, row in zip(record.prediction_ids, values, strict=True):
        yield Predicted(
            project=record.project,
            model=record.model,
            prediction_id=prediction_id,
            table_version=record.table_version,
            arm=record.arm,
            score=float(row[-1]),
        )
