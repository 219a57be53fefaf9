"""From the stream into the schema: predictions and labels of the models that are learned from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from headrace.errors import Refused
from headrace.events import LabelObserved, PredictionLogged
from headrace.runtime.bus import Event, Tx
from headrace.runtime.clock import Clock
from services.serving.learner.features import inputs_named, inputs_of, row_of, rows_of
from services.serving.store import learners, learning
from services.serving.store.learners import Wanted
from services.serving.store.learning import Labelled, Predicted

GROUP: Final = "serving.learner"
_NUL: Final = "\x00"
"""What text in PostgreSQL cannot have."""
RecordT = TypeVar("RecordT", PredictionLogged, LabelObserved)


class Intake:
    """Batch handlers; `noted` is called when there may be something to learn."""

    def __init__(self, *, project: str, clock: Clock, noted: Callable[[], None]) -> None:
        self._project = project
        self._clock = clock
        self._noted = noted

    async def on_predictions(self, events: Sequence[Event[PredictionLogged]], tx: Tx) -> None:
        """Keep the features of every prediction whose label may be learned from.

        Requests that the model failed on are none.
        """
        by_model = self._by_model(events)
        for wanted in await self._wanted(tx, list(by_model)):
            if wanted.features_from != "predictions":
                continue
            kept: list[Predicted] = []
            for event in by_model[wanted.model]:
                if event.data.error:
                    continue
                kept.extend(await self._usable(tx, wanted, event))
            if kept:
                now = self._clock.now()
                await learning.add_predictions(
                    tx.connection, wanted, kept, project=self._project, now=now
                )
                self._noted()

    async def on_labels(self, events: Sequence[Event[LabelObserved]], tx: Tx) -> None:
        """Put labels in their turn."""
        by_model = self._by_model(events)
        for wanted in await self._wanted(tx, list(by_model)):
            numbers = [event for event in by_model[wanted.model] if _is_usable(event.data)]
            broken = len(by_model[wanted.model]) - len(numbers)
            if broken:
                await self._unusable(
                    tx, wanted, broken, "a label is no number, or of no prediction"
                )
            if wanted.features_from == "labels":
                numbers = await self._keep_features(tx, wanted, numbers)
            await learning.add_labels(
                tx.connection,
                wanted,
                [
                    Labelled(
                        prediction_id=event.data.prediction_id,
                        label=event.data.label,
                        partition=event.partition,
                        offset=event.offset,
                    )
                    for event in numbers
                ],
                project=self._project,
                now=self._clock.now(),
            )
            self._noted()

    async def _keep_features(
        self, tx: Tx, wanted: Wanted, events: Sequence[Event[LabelObserved]]
    ) -> list[Event[LabelObserved]]:
        """Keep what labels bring along as if it had been predicted; the labels that can be used."""
        kept = {}
        for event in events:
            try:
                kept[event.offset] = event, row_of(event.data, wanted.plan)
            except Refused as error:
                await self._unusable(tx, wanted, 1, str(error))
        if not wanted.knows_inputs:
            await learners.note_inputs(
                tx.connection, wanted, inputs_named(wanted.plan), project=self._project
            )
        predictions = [
            Predicted(
                prediction_id=event.data.prediction_id,
                features=row.tobytes(),
                log_partition=event.partition,
                log_offset=event.offset,
            )
            for event, row in kept.values()
        ]
        await learning.add_predictions(
            tx.connection, wanted, predictions, project=self._project, now=self._clock.now()
        )
        return [event for event, _ in kept.values()]

    def _by_model(self, events: Sequence[Event[RecordT]]) -> dict[str, list[Event[RecordT]]]:
        by_model: dict[str, list[Event[RecordT]]] = defaultdict(list)
        for event in events:
            if event.data.project == self._project and _NUL not in event.data.model:
                by_model[event.data.model].append(event)
        return by_model

    async def _wanted(self, tx: Tx, models: Sequence[str]) -> list[Wanted]:
        return await learners.wanted(tx.connection, project=self._project, models=models)

    async def _usable(
        self, tx: Tx, wanted: Wanted, event: Event[PredictionLogged]
    ) -> list[Predicted]:
        record = event.data
        try:
            rows, inputs = rows_of(record, wanted.plan), inputs_of(record)
        except Refused as error:
            await self._unusable(tx, wanted, len(record.prediction_ids), str(error))
            return []
        if not wanted.knows_inputs:
            await learners.note_inputs(tx.connection, wanted, inputs, project=self._project)
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        if not finite.all():
            count = int((~finite).sum())
            await self._unusable(tx, wanted, count, "a feature is no finite number")
        return [
            Predicted(
                prediction_id=prediction_id,
                features=row.tobytes(),
                log_partition=event.partition,
                log_offset=event.offset,
            )
            for prediction_id, row, usable in zip(record.prediction_ids, rows, finite, strict=True)
            if usable and _NUL not in prediction_id
        ]

    async def _unusable(self, tx: Tx, wanted: Wanted, count: int, reason: str) -> None:
        await learners.note_unusable(tx.connection, wanted, count, reason, project=self._project)


def _is_usable(label: LabelObserved) -> bool:
    return math.isfinite(label.label) and _NUL not in label.prediction_id
