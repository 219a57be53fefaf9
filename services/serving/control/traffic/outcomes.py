"""Puts predictions of a running rollout beside their labels, whichever comes first.

Predictions come from the workers on their way to Kafka, since no service reads a topic that it
writes; what a crash loses of them is missed by both arms alike. Labels come by the consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from headrace.events import LabelObserved, PredictionLogged, RewardObserved
from headrace.runtime.bus import Event, Tx
from services.serving.domain.bandit import Bandit
from services.serving.domain.rollouts import Rollout
from services.serving.store import bandits, rollouts
from services.serving.store.rollouts import Predicted

_DTYPES: Final = {"FP32": "<f4", "FP64": "<f8"}
_MAX_WAITING: Final = 200_000


class Outcomes:
    """Bounded memory of predictions that wait to be noted; `watch` says which are wanted."""

    def __init__(self, *, project: str) -> None:
        self._project = project
        self._watched: frozenset[tuple[str, int]] = frozenset()
        self._bandits: dict[str, int] = {}
        self._waiting: deque[Predicted] = deque(maxlen=_MAX_WAITING)

    def watch(self, running: Sequence[Rollout]) -> None:
        """Keep predictions under the present tables of these rollouts, where labels count."""
        self._watched = frozenset(
            (rollout.model, rollout.table) for rollout in running if rollout.plan.quality
        )

    def watch_bandits(self, running: Sequence[Bandit]) -> None:
        """Keep predictions under every table of these bandits."""
        self._bandits = {bandit.model: bandit.first_table for bandit in running}

    def heard(self, record: PredictionLogged) -> None:
        """A micro-batch was published. Requests that the model failed on are no predictions."""
        if record.error:
            return
        first = self._bandits.get(record.model)
        wanted = (record.model, record.table_version) in self._watched or (
            first is not None and record.table_version >= first
        )
        if wanted and record.propensity > 0:
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

    async def on_rewards(self, events: Sequence[Event[RewardObserved]], tx: Tx) -> None:
        """Rewards of models that a bandit weighs."""
        running = await bandits.running(tx.connection, project=self._project)
        models = {bandit.model for bandit in running}
        rewards = [
            (event.data.project, event.data.model, event.data.prediction_id, event.data.reward)
            for event in events
            if event.data.project == self._project and event.data.model in models
        ]
        if rewards:
            await rollouts.note_labels(tx.connection, rewards)


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
    """NaN where there is no such output: a bandit asks for rewards only."""
    rows = len(record.prediction_ids)
    output = next((each for each in record.outputs if each.datatype in _DTYPES), None)
    if output is None or not output.data:
        return [float("nan")] * rows
    values = np.frombuffer(output.data, _DTYPES[output.datatype]).reshape(rows, -1)
    return [float(value) for value in values[:, -1]]
