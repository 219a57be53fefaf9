"""Intake of the prediction log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.errors import InvalidInput
from headrace.events import PredictionLogged
from headrace.runtime.bus import Event, Tx
from services.monitoring.columns import Predictions, decode
from services.monitoring.event_time import BoolArray, IntArray, Placed
from services.monitoring.handlers.closing import close_days
from services.monitoring.handlers.context import Context
from services.monitoring.store import labels, models, predictions
from services.monitoring.store.models import MonitoredModel


@dataclass(frozen=True, kw_only=True, slots=True)
class _Incoming:
    """One micro-batch of a model: where its rows stand, and which are kept and counted."""

    batch: Predictions
    payload: bytes
    days: IntArray
    open_days: IntArray
    kept: IntArray
    counted: BoolArray

    def counted_days(self, counted: BoolArray) -> list[int]:
        days: list[int] = np.unique(self.days[counted]).tolist()
        return days

    def stored(self) -> predictions.NewBatch:
        return predictions.NewBatch(
            version=self.batch.version,
            last_day=int(self.days[self.kept].max()),
            counted=np.packbits(self.counted).tobytes(),
            days=self.counted_days(self.counted),
            payload=self.payload,
        )


async def on_predictions_logged(
    context: Context, events: Sequence[Event[PredictionLogged]], tx: Tx
) -> None:
    """Store micro-batches, join labels that waited for them, close the days that are over.

    A micro-batch that is not what it says is dead-lettered. One of requests that the model failed
    on holds no predictions.
    """
    by_model: dict[str, list[tuple[Event[PredictionLogged], Predictions]]] = defaultdict(list)
    for event in events:
        if event.data.error:
            continue
        try:
            by_model[event.data.model].append((event, _checked(context, event.data)))
        except InvalidInput as error:
            tx.refuse(event, error)
    for name in sorted(name for name, logged in by_model.items() if logged):
        model = await models.lock(tx.connection, project=context.project, model=name)
        model = await _take(context, tx, model, by_model[name])
        await close_days(context, tx, model, cause=by_model[name][-1][0])


def _checked(context: Context, data: PredictionLogged) -> Predictions:
    if (data.project or "default") != context.project:
        raise InvalidInput(
            f"project: this is {context.project!r}, got {data.project!r}", field="project"
        )
    return decode(data)


async def _take(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    logged: Sequence[tuple[Event[PredictionLogged], Predictions]],
) -> MonitoredModel:
    batches = [batch for _, batch in logged]
    times = np.concatenate([batch.event_times_us for batch in batches])
    placed = context.calendar.place(
        times,
        after=model.predictions_watermark,
        may_step_back=model.last_closed_day is None,
        records=np.repeat(np.arange(len(batches)), [batch.rows for batch in batches]),
    )
    incoming = _incoming(model, logged, placed)
    added, joined = await _store(tx, model, incoming)
    kept = sum(len(part.kept) for part in incoming)
    return await models.count_predictions(
        tx.connection,
        model.model_id,
        watermark=placed.watermark,
        arrived_at=context.clock.now(),
        added=added,
        late=int((placed.late & ~placed.too_old).sum()),
        repeated=kept - added,
        refused=int(placed.too_old.sum()),
        dropped=max(event.data.dropped_rows for event, _ in logged),
        joined=joined,
    )


def _incoming(
    model: MonitoredModel,
    logged: Sequence[tuple[Event[PredictionLogged], Predictions]],
    placed: Placed,
) -> list[_Incoming]:
    closed = model.last_closed_day
    in_time = ~placed.late & ~placed.too_old
    if closed is not None:
        in_time &= placed.days > closed
    incoming = []
    end = 0
    for event, batch in logged:
        begin, end = end, end + batch.rows
        kept = np.flatnonzero(~placed.too_old[begin:end])
        if not len(kept):
            continue
        usable = (
            np.ones(batch.rows, np.bool_) if batch.scores is None else np.isfinite(batch.scores)
        )
        incoming.append(
            _Incoming(
                batch=batch,
                payload=event.data.SerializeToString(),
                days=placed.days[begin:end],
                open_days=placed.open_days[begin:end],
                kept=kept,
                counted=in_time[begin:end] & usable,
            )
        )
    return incoming


async def _store(tx: Tx, model: MonitoredModel, incoming: Sequence[_Incoming]) -> tuple[int, int]:
    """Returns how many predictions were new, and how many labels had waited for them."""
    if not incoming:
        return 0, 0
    connection = tx.connection
    batch_ids = await predictions.add_batches(
        connection, model.model_id, [part.stored() for part in incoming]
    )
    added = await predictions.add_predictions(
        connection,
        model.model_id,
        prediction_ids=[part.batch.prediction_ids[row] for part in incoming for row in part.kept],
        batch_ids=np.repeat(batch_ids, [len(part.kept) for part in incoming]).tolist(),
        row_numbers=np.concatenate([part.kept for part in incoming]).tolist(),
        open_days=np.concatenate([part.open_days[part.kept] for part in incoming]).tolist(),
    )
    if added < sum(len(part.kept) for part in incoming):
        await _uncount_repeated(tx, dict(zip(batch_ids, incoming, strict=True)))
    if not model.labels_pending:
        return added, 0
    joined = await labels.join_pending(
        connection,
        model.model_id,
        batch_ids=batch_ids,
        earliest_day=earliest_open(model),
    )
    return added, joined


async def _uncount_repeated(tx: Tx, incoming: dict[int, _Incoming]) -> None:
    """Some ids were known before: their rows count nowhere, and batches of only such go."""
    new: dict[int, list[int]] = defaultdict(list)
    for batch_id, row in await predictions.rows_of(tx.connection, list(incoming)):
        new[batch_id].append(row)
    await predictions.forget_batches(tx.connection, [key for key in incoming if key not in new])
    for batch_id, rows in new.items():
        part = incoming[batch_id]
        if len(rows) == len(part.kept):
            continue
        counted = np.zeros_like(part.counted)
        counted[rows] = part.counted[rows]
        await predictions.mark_counted(
            tx.connection,
            batch_id,
            counted=np.packbits(counted).tobytes(),
            days=part.counted_days(counted),
        )


def earliest_open(model: MonitoredModel) -> int:
    """The first day whose segment can still be written; far in the past before any was."""
    return -(2**31) if model.last_closed_day is None else model.last_closed_day + 1
