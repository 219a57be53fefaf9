"""Closing event-days: segments first, then what the days looked like, then alarms."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import quote

import asyncpg

from headrace.errors import Transient
from headrace.events import LabelledDataWritten, MonitoredDayClosed, Segment
from headrace.profiles import ProfileSchema
from headrace.runtime.bus import Event, Tx
from services.monitoring.day_summary import (
    UNPROFILED,
    DaySummary,
    estimated_rows,
    rows_by_version,
    summarise,
)
from services.monitoring.event_time import date_of, moment
from services.monitoring.handlers.alarms import note_mismatch, observe
from services.monitoring.handlers.context import Context
from services.monitoring.handlers.files import reaching_files
from services.monitoring.handlers.material import Material, load
from services.monitoring.segments import SegmentFile, segment_files
from services.monitoring.store import days, labels, models, monitors, predictions
from services.monitoring.store.days import ClosedDay, StoredSegment
from services.monitoring.store.models import MonitoredModel

_TRY_AGAIN: Final = (
    Transient,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
)


async def close_days(context: Context, tx: Tx, model: MonitoredModel, *, cause: Event[Any]) -> None:
    """Close every day that both streams have passed. The model's row must be locked.

    A day that cannot be closed stays open, and is tried again with the next batch: what came in
    is never lost for it.
    """
    before = context.closed_before(model)
    if before is None or (
        model.last_closed_day is not None and before <= model.last_closed_day + 1
    ):
        return
    found = await days.due(
        tx.connection, model.model_id, after=model.last_closed_day, before=before
    )
    for day in found:
        emitted = len(tx.outgoing)
        try:
            async with tx.connection.transaction():
                await _close(context, tx, model, day, cause)
        except _TRY_AGAIN:
            raise
        except Exception:
            del tx.outgoing[emitted:]
            context.log.exception("day_not_closed", model=model.model, day=str(date_of(day)))
            return


async def _close(
    context: Context, tx: Tx, model: MonitoredModel, day: int, cause: Event[Any]
) -> None:
    material = await load(context, tx, model, day)
    written = await _write_segments(context, tx, model, day, material, cause)
    horizon = day - context.calendar.horizon_days
    unmatched = await labels.prune(tx.connection, model.model_id, before_day=horizon)
    model = await models.close_day(
        tx.connection,
        model.model_id,
        day=day,
        labelled_through_us=context.calendar.ends(day) if written else None,
        segment_rows=written,
        unmatched=unmatched,
    )
    await _record_versions(context, tx, model, day, material, cause)
    await predictions.prune(tx.connection, model.model_id, before_day=horizon)


async def _write_segments(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    day: int,
    material: Material,
    cause: Event[Any],
) -> int:
    """Returns the rows written. Storing is repeatable: same rows, same bytes, same key."""
    if not len(material.in_segment):
        return 0
    files = await asyncio.to_thread(segment_files, material.batches, material.in_segment)
    stored = [await _store_file(context, model, day, file) for file in files]
    await days.add_segments(tx.connection, model.model_id, stored)
    tx.emit(
        LabelledDataWritten(
            project=context.project,
            dataset=model.dataset,
            model=model.model,
            segments=[_segment(segment) for segment in stored],
            labelled_through=moment(context.calendar.ends(day)),
        ),
        cause=cause,
    )
    return sum(file.rows for file in files)


async def _store_file(
    context: Context, model: MonitoredModel, day: int, file: SegmentFile
) -> StoredSegment:
    key = f"labelled/{quote(model.model, safe='')}/{file.digest}.parquet"
    with reaching_files():
        blob = await context.blobs.put(key, file.data)
    return StoredSegment(
        day=day,
        uri=blob.uri,
        digest=blob.digest,
        size=blob.size,
        row_count=file.rows,
        first_event_us=file.first_event_us,
        last_event_us=file.last_event_us,
        observed_through_us=file.observed_through_us,
    )


def _segment(stored: StoredSegment) -> Segment:
    return Segment(
        uri=stored.uri,
        digest=stored.digest,
        size=stored.size,
        rows=stored.row_count,
        first_event_time=moment(stored.first_event_us),
        last_event_time=moment(stored.last_event_us),
        observed_through=moment(stored.observed_through_us),
    )


async def _record_versions(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    day: int,
    material: Material,
    cause: Event[Any],
) -> None:
    by_version = rows_by_version(material.counted, material.in_time)
    total = sum(estimated_rows(parts) for parts in by_version.values())
    for version, parts in by_version.items():
        schema = await _schema_of(tx, model, version)
        summary = await asyncio.to_thread(summarise, schema, parts)
        closed = _closed(context, version, day, schema, summary, total)
        await days.add_closed(tx.connection, model.model_id, closed)
        tx.emit(_day_closed(context, model, closed), cause=cause)
        if summary.mismatch is not None:
            await note_mismatch(context, tx, model, closed, summary.mismatch, cause)
        await observe(context, tx, model, closed, summary.statistics, cause)


async def _schema_of(tx: Tx, model: MonitoredModel, version: int) -> ProfileSchema:
    monitor = await monitors.find(tx.connection, model.model_id, version)
    return UNPROFILED if monitor is None else ProfileSchema.from_document(monitor.schema)


def _closed(
    context: Context,
    version: int,
    day: int,
    schema: ProfileSchema,
    summary: DaySummary,
    total: float,
) -> ClosedDay:
    performance = summary.statistics.performance
    return ClosedDay(
        version=version,
        day=day,
        predictions=summary.predictions,
        estimated=summary.estimated,
        labelled=summary.labelled,
        auc=performance.auc,
        log_loss=performance.log_loss,
        positive_rate=performance.positive_rate,
        mean_score=performance.mean_score,
        closed_at_us=context.calendar.closes(day),
        leads=2 * summary.estimated >= total,
        schema=schema.to_document(),
        statistics=summary.statistics.to_bytes(),
    )


def _day_closed(context: Context, model: MonitoredModel, day: ClosedDay) -> MonitoredDayClosed:
    return MonitoredDayClosed(
        project=context.project,
        model=model.model,
        version=day.version,
        day=date_of(day.day).isoformat(),
        predictions=day.predictions,
        predictions_estimated=day.estimated,
        labelled=day.labelled,
        auc=day.auc,
        log_loss=day.log_loss,
        positive_rate=day.positive_rate,
        mean_score=day.mean_score,
        closed_at=moment(day.closed_at_us),
    )
