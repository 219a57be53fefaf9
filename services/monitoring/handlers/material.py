"""What a day is closed from: its predictions, the labels of its segment, the labels in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.events import PredictionLogged
from headrace.runtime.bus import Tx
from services.monitoring.columns import Predictions, decode
from services.monitoring.event_time import BoolArray
from services.monitoring.handlers.context import Context
from services.monitoring.segments import LabelledRows
from services.monitoring.store import labels, predictions
from services.monitoring.store.models import MonitoredModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Everything that a day is closed from.

    `in_segment` are the labels that became known on the day, `in_time` those of the day's
    predictions that were known when it closed; `masks` say which rows count on the day.
    """

    in_segment: LabelledRows
    in_time: LabelledRows
    batches: Mapping[int, Predictions]
    masks: Mapping[int, BoolArray]

    @property
    def counted(self) -> dict[int, tuple[Predictions, BoolArray]]:
        """Micro-batches with rows that count on the day, and which rows."""
        return {key: (self.batches[key], mask) for key, mask in self.masks.items()}


async def load(context: Context, tx: Tx, model: MonitoredModel, day: int) -> Material:
    """Read what belongs to a day. The model's row must be locked."""
    connection = tx.connection
    in_segment = await labels.of_segment(connection, model.model_id, day)
    of_day = await predictions.batches_of_day(connection, model.model_id, day)
    in_time = await labels.of_predictions(
        connection,
        model.model_id,
        batch_ids=of_day,
        seen_through_day=day,
        observed_before_us=context.calendar.closes(day),
    )
    wanted = sorted({*of_day, *in_segment.batch_ids.tolist()})
    stored = await predictions.load_batches(connection, wanted)
    batches, masks = await asyncio.to_thread(_decoded, context, day, set(of_day), stored)
    return Material(in_segment=in_segment, in_time=in_time, batches=batches, masks=masks)


def _decoded(
    context: Context, day: int, of_day: set[int], stored: Sequence[predictions.StoredBatch]
) -> tuple[dict[int, Predictions], dict[int, BoolArray]]:
    batches: dict[int, Predictions] = {}
    masks: dict[int, BoolArray] = {}
    for row in stored:
        batch = decode(PredictionLogged.FromString(row.payload))
        batches[row.batch_id] = batch
        if row.batch_id in of_day:
            masks[row.batch_id] = _mask(context, day, batch, row.counted)
    return batches, masks


def _mask(context: Context, day: int, batch: Predictions, counted: bytes) -> BoolArray:
    bits = np.unpackbits(np.frombuffer(counted, dtype=np.uint8), count=batch.rows)
    on_day: BoolArray = context.calendar.days_of(batch.event_times_us) == day
    return bits.astype(np.bool_) & on_day
