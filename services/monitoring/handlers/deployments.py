"""A new version answers: its training profile becomes the baseline."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Final

from headrace.errors import Permanent
from headrace.events import FileRef, ModelDeployed
from headrace.profiles import DayStatistics, ProfileSchema, TrainingProfile
from headrace.runtime.bus import Event, Tx
from services.monitoring.day_summary import rows_by_version, summarise
from services.monitoring.domain import Monitor, encode
from services.monitoring.event_time import microseconds
from services.monitoring.handlers.alarms import observe, raise_quality_alert, resolve
from services.monitoring.handlers.context import Context
from services.monitoring.handlers.files import reaching_files
from services.monitoring.handlers.material import load
from services.monitoring.store import days, models, monitors
from services.monitoring.store.days import ClosedDay
from services.monitoring.store.models import MonitoredModel
from services.monitoring.store.monitors import StoredMonitor

CHAMPION: Final = "champion"
PROFILE_NAMES: Final = frozenset({"profile.json", "training-profile.bin"})
"""File names that a version's training profile goes by."""


async def on_model_deployed(context: Context, event: Event[ModelDeployed], tx: Tx) -> None:
    """Retire the old version's monitor and alerts, begin with the new version's baseline.

    A version without a usable profile is recorded day by day but not judged, and an alert says
    so. The same deployment told again changes nothing.
    """
    deployed = event.data
    if deployed.alias != CHAMPION or deployed.project != context.project:
        return
    model = await models.lock(tx.connection, project=context.project, model=deployed.model)
    if await monitors.deployed_version(tx.connection, model.model_id) == deployed.version:
        return
    now_us = model.now_us or microseconds(deployed.deployed_at)
    await monitors.set_deployed(tx.connection, model.model_id, deployed.version)
    await monitors.retire_all(tx.connection, model.model_id)
    for alert in await monitors.open_alerts(tx.connection, model.model_id):
        await resolve(context, tx, model, alert, at_us=now_us, reason="new baseline", cause=event)
    try:
        stored = await _new_monitor(context, tx, model, deployed)
    except Permanent as error:
        await raise_quality_alert(
            context,
            tx,
            model,
            version=deployed.version,
            title=str(error),
            at_us=now_us,
            cause=event,
        )
        return
    await monitors.save(tx.connection, model.model_id, stored)
    await _catch_up(context, tx, model, stored, event)


async def _new_monitor(
    context: Context, tx: Tx, model: MonitoredModel, deployed: ModelDeployed
) -> StoredMonitor:
    """A fresh monitor; a version that answers again is not shown what it was shown before."""
    profile = await _profile(context, deployed)
    monitor = await asyncio.to_thread(Monitor.from_profile, profile, context.config)
    earlier = await monitors.find(tx.connection, model.model_id, deployed.version)
    return StoredMonitor(
        version=deployed.version,
        active=True,
        schema=profile.schema.to_document(),
        state=encode(monitor),
        fed_through_day=None if earlier is None else model.last_closed_day,
    )


async def _profile(context: Context, deployed: ModelDeployed) -> TrainingProfile:
    found = _profile_file(deployed)
    if found is None:
        raise Permanent("no training profile")
    try:
        with reaching_files():
            data = await context.blobs.get_verified(found.uri, found.digest)
        return await asyncio.to_thread(TrainingProfile.from_bytes, data)
    except Permanent as error:
        raise Permanent(f"training profile cannot be used: {error}") from error


def _profile_file(deployed: ModelDeployed) -> FileRef | None:
    for file in deployed.files:
        if PurePosixPath(file.path).name in PROFILE_NAMES:
            return file
    return None


async def _catch_up(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    stored: StoredMonitor,
    event: Event[ModelDeployed],
) -> None:
    """Show the monitor the days that its version closed before its deployment was heard of."""
    schema = ProfileSchema.from_document(stored.schema)
    missed = await days.closed_after(
        tx.connection, model.model_id, stored.version, day=stored.fed_through_day
    )
    for day in missed:
        profiled = await _profiled(context, tx, model, day, schema)
        if profiled is None:
            continue
        closed, statistics = profiled
        await days.add_closed(tx.connection, model.model_id, closed)
        await observe(context, tx, model, closed, statistics, event)


async def _profiled(
    context: Context, tx: Tx, model: MonitoredModel, day: ClosedDay, schema: ProfileSchema
) -> tuple[ClosedDay, DayStatistics] | None:
    """The day summed up again under a schema; None when its predictions are forgotten."""
    material = await load(context, tx, model, day.day)
    parts = rows_by_version(material.counted, material.in_time).get(day.version)
    if parts is None:
        return None
    summary = await asyncio.to_thread(summarise, schema, parts)
    if summary.predictions != day.predictions:
        return None
    return day.under(schema.to_document(), summary.statistics.to_bytes()), summary.statistics
