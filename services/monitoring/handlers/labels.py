"""Intake of labels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from headrace.errors import InvalidInput, Refused
from headrace.events import LabelObserved
from headrace.runtime.bus import Event, Tx
from services.monitoring.event_time import IntArray, microseconds
from services.monitoring.handlers.closing import close_days
from services.monitoring.handlers.context import Context
from services.monitoring.handlers.predictions import earliest_open
from services.monitoring.store import labels, models
from services.monitoring.store.models import MonitoredModel


async def on_labels_observed(
    context: Context, events: Sequence[Event[LabelObserved]], tx: Tx
) -> None:
    """Join labels with predictions, keep the others waiting, close the days that are over.

    A label of a model that nobody predicted with yet waits too, since the two streams are not
    ordered; only when very many such models are waited for is that of a further one
    dead-lettered, as is a label that cannot be one.
    """
    by_model: dict[str, list[Event[LabelObserved]]] = defaultdict(list)
    for event in events:
        try:
            _check(context, event.data)
        except InvalidInput as error:
            tx.refuse(event, error)
        else:
            by_model[event.data.model].append(event)
    for name in sorted(by_model):
        model = await _known_or_new(context, tx, name)
        if model is None:
            for event in by_model[name]:
                tx.refuse(event, _too_many_unseen(context, name))
            continue
        model = await _take(context, tx, model, [event.data for event in by_model[name]])
        await close_days(context, tx, model, cause=by_model[name][-1])


def _check(context: Context, data: LabelObserved) -> None:
    if data.project != context.project:
        raise InvalidInput(
            f"project: this is {context.project!r}, got {data.project!r}", field="project"
        )
    if not math.isfinite(data.label):
        raise InvalidInput(f"label: expected a finite number, got {data.label}", field="label")
    if "\x00" in data.prediction_id or "\x00" in data.model:
        raise InvalidInput("prediction_id, model: a NUL cannot be stored", field="prediction_id")


async def _known_or_new(context: Context, tx: Tx, name: str) -> MonitoredModel | None:
    """The model, locked; None if it is unknown and too many unknown ones are waited for."""
    known = await models.lock_known(tx.connection, project=context.project, model=name)
    if known is not None:
        return known
    if await models.unseen(tx.connection) >= context.max_unseen_models:
        return None
    return await models.lock(tx.connection, project=context.project, model=name)


def _too_many_unseen(context: Context, name: str) -> Refused:
    return Refused(
        f"unknown model {name!r}: nothing predicted with it, and labels of "
        f"{context.max_unseen_models} such models are waiting already"
    )


async def _take(
    context: Context, tx: Tx, model: MonitoredModel, observed: Sequence[LabelObserved]
) -> MonitoredModel:
    times = np.array([microseconds(label.observed_at) for label in observed], dtype=np.int64)
    placed = context.calendar.place(
        times, after=model.labels_watermark, may_step_back=model.last_closed_day is None
    )
    rows = _ever_later(observed, times, np.flatnonzero(~placed.too_old))
    due_days = np.maximum(np.maximum(placed.days, placed.open_days), earliest_open(model))
    chosen = [observed[row] for row in rows.tolist()]
    added = await labels.add(
        tx.connection,
        model.model_id,
        prediction_ids=[label.prediction_id for label in chosen],
        observed_us=times[rows].tolist(),
        labels=[label.label for label in chosen],
        seen_days=placed.open_days[rows].tolist(),
        due_days=due_days[rows].tolist(),
    )
    refused = int(placed.too_old.sum())
    return await models.count_labels(
        tx.connection,
        model.model_id,
        watermark=placed.watermark,
        arrived_at=context.clock.now(),
        added=added.joined + added.pending,
        late=int((placed.late & ~placed.too_old).sum()),
        repeated=len(observed) - refused - added.joined - added.pending,
        refused=refused,
        joined=added.joined,
        pending=added.pending,
    )


def _ever_later(observed: Sequence[LabelObserved], times: IntArray, rows: IntArray) -> IntArray:
    """Of each prediction the rows that were observed later than every row before them."""
    if len({observed[row].prediction_id for row in rows.tolist()}) == len(rows):
        return rows
    latest: dict[str, int] = {}
    chosen = []
    for row in rows.tolist():
        name = observed[row].prediction_id
        if name not in latest or latest[name] < times[row]:
            latest[name] = int(times[row])
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)
