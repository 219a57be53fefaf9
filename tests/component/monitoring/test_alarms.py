"""Closed days reach the version's monitor; what it finds is told with its evidence, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest_asyncio

from deploy.local.testing import TestBucket, TestDatabase
from headrace.events import (
    AlertRaised,
    AlertResolved,
    DriftDetected,
    LabelledDataWritten,
    MonitoredDayClosed,
)
from headrace.profiles import DayStatistics, ProfileSchema
from services.monitoring.domain import MonitorConfig
from tests.harness.monitoring import (
    Desk,
    at,
    batch,
    deployment,
    desk,
    drifting_day,
    label,
    profile,
)

CONFIG = MonitorConfig(false_alarm_days=365, bootstrap_paths=200, min_rows=20)
ROWS = 200


@pytest_asyncio.fixture
async def monitoring(database: TestDatabase, bucket: TestBucket) -> AsyncIterator[Desk]:
    async with desk(database, bucket, config=CONFIG) as made:
        yield made


async def live(
    monitoring: Desk,
    model: str,
    days: range,
    *,
    version: int = 1,
    temp: float = 2.0,
    calibrated: bool = True,
) -> None:
    """Days of traffic that looks like the training profile, unless told otherwise."""
    for day in days:
        logged, labels = drifting_day(
            model, day, version=version, temp=temp, calibrated=calibrated, rows=ROWS
        )
        await monitoring.predictions(logged)
        await monitoring.labels(*labels)


async def test_no_drift_no_alarm(monitoring: Desk) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(12))

    assert len(monitoring.of(MonitoredDayClosed)) == 11
    assert monitoring.of(AlertRaised) == []


async def test_drifted_inputs_are_told_after_the_segment_that_covers_the_day(
    monitoring: Desk,
) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(3))
    await live(monitoring, "m", range(3, 9), temp=3.0)

    drift, *_ = monitoring.of(DriftDetected)
    alert, *_ = monitoring.of(AlertRaised)
    assert (drift.kind, drift.severity, drift.version) == ("data", "warning", 1)
    assert drift.evidence.statistic == "temp.mean"
    assert drift.evidence.value > drift.evidence.threshold
    assert drift.evidence.onset is not None
    assert drift.evidence.onset >= at(24 * 3)
    assert drift.evidence.features[0].feature == "temp"
    assert drift.evidence.features[0].current > 2.8
    assert (alert.kind, alert.evidence) == ("data_drift", drift.evidence)
    written = [
        event
        for event in monitoring.told[: monitoring.told.index(drift)]
        if isinstance(event, LabelledDataWritten)
    ]
    assert written[-1].labelled_through == drift.labelled_through == drift.evidence.window_end
    assert drift.detected_at == drift.evidence.window_end + timedelta(hours=6)
    assert drift.dataset == "m-labelled"


async def test_a_drift_event_begins_a_turn_of_its_own(monitoring: Desk) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(9), temp=3.5)

    row = await monitoring.pool.fetchrow("select * from alert where kind = 'data_drift'")
    assert row is not None
    drift = monitoring.of(DriftDetected)[0]
    assert row["drift_epoch"] == drift.drift_epoch
    assert row["correlation_id"] is not None


async def test_worse_answers_are_a_performance_alarm_of_the_same_epoch(monitoring: Desk) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(8), temp=3.5, calibrated=False)

    kinds = {event.kind: event for event in monitoring.of(DriftDetected)}
    assert set(kinds) == {"data", "performance"}
    assert kinds["performance"].severity == "critical"
    assert kinds["data"].drift_epoch == kinds["performance"].drift_epoch
    assert len(monitoring.of(AlertRaised)) == 2


async def test_a_new_version_resolves_the_alerts_and_is_measured_by_its_own_profile(
    monitoring: Desk,
) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(8), temp=3.5)
    (alert,) = monitoring.of(AlertRaised)

    told = await monitoring.deployed(await deployment(monitoring, "m", 2, profile()))

    (resolved,) = told
    assert isinstance(resolved, AlertResolved)
    assert (resolved.alert_id, resolved.reason) == (alert.alert_id, "new baseline")
    drifts = len(monitoring.of(DriftDetected))
    await live(monitoring, "m", range(8, 14), version=2)
    assert len(monitoring.of(DriftDetected)) == drifts
    assert await monitoring.deployed(await deployment(monitoring, "m", 2, profile())) == []


async def test_a_version_without_a_profile_is_recorded_and_an_alert_says_so(
    monitoring: Desk,
) -> None:
    (alert,) = await monitoring.deployed(await deployment(monitoring, "m", 1, None))
    await live(monitoring, "m", range(3), temp=9.0)

    assert isinstance(alert, AlertRaised)
    assert (alert.kind, alert.title) == ("quality", "no training profile")
    days = monitoring.of(MonitoredDayClosed)
    assert [(day.predictions, day.labelled) for day in days] == [(ROWS, ROWS)] * 2
    assert all(day.auc is not None and day.log_loss is not None for day in days)
    assert monitoring.of(DriftDetected) == []


async def test_a_profile_that_is_not_what_its_digest_says_is_not_used(monitoring: Desk) -> None:
    deployed = await deployment(monitoring, "m", 1, profile())
    await monitoring.blobs.put("artifacts/m/1/profile.json", b"something else")

    (alert,) = await monitoring.deployed(deployed)

    assert isinstance(alert, AlertRaised)
    assert alert.kind == "quality"
    assert deployed.files[0].digest in alert.title
    assert await monitoring.pool.fetchval("select count(*) from monitor") == 0


async def test_days_closed_before_the_deployment_was_heard_of_are_shown_to_the_monitor(
    monitoring: Desk,
) -> None:
    await monitoring.deployed(await deployment(monitoring, "on-time", 1, profile()))
    await live(monitoring, "on-time", range(8), temp=3.5)
    in_time = _without_ids(monitoring.of(DriftDetected))
    await live(monitoring, "later", range(8), temp=3.5)
    await monitoring.deployed(await deployment(monitoring, "later", 1, profile()))

    caught_up = _without_ids(monitoring.of(DriftDetected))[len(in_time) :]
    assert [kind for kind, *_ in caught_up] == [kind for kind, *_ in in_time]
    assert [evidence for _, evidence, _ in caught_up] == [evidence for _, evidence, _ in in_time]
    on_time, later = await monitoring.closed("on-time"), await monitoring.closed("later")
    assert [day["statistics"] for day in on_time] == [day["statistics"] for day in later]


async def test_statistics_of_a_day_count_every_prediction_once(monitoring: Desk) -> None:
    trained = profile()
    await monitoring.deployed(await deployment(monitoring, "m", 1, trained))
    await live(monitoring, "m", range(2))

    (closed,) = await monitoring.closed("m")
    schema = ProfileSchema.from_document(closed["schema"])
    statistics = DayStatistics.from_bytes(schema, closed["statistics"])
    assert schema == trained.schema
    assert (statistics.inputs.rows, statistics.performance.rows) == (ROWS, ROWS)
    assert statistics.inputs.counts[0].tolist() == [ROWS, 0]


async def test_inputs_that_do_not_fit_the_profile_are_a_quality_alert_once(
    monitoring: Desk,
) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    for day in range(3):
        logged = batch("m", [(f"p{day}/{i}", at(24 * day + 8 + i / 60)) for i in range(30)])
        del logged.inputs[1]
        await monitoring.predictions(logged)
        await monitoring.labels(label("m", f"p{day}/0", at(24 * day + 9)))

    (alert,) = monitoring.of(AlertRaised)
    assert alert.kind == "quality"
    assert "feature 'temp' of the profile is missing" in alert.title
    assert [day.predictions for day in monitoring.of(MonitoredDayClosed)] == [30, 30]


async def test_a_part_day_beside_another_version_is_not_judged(monitoring: Desk) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    await live(monitoring, "m", range(1))
    strange = [(f"x/{i}", at(9 + i / 60)) for i in range(50)]
    await monitoring.predictions(batch("m", strange, version=2, temp=[90.0] * 50))
    await monitoring.deployed(await deployment(monitoring, "m", 2, profile()))
    await live(monitoring, "m", range(1, 3), version=2)

    days = {(day.day, day.version) for day in monitoring.of(MonitoredDayClosed)}
    assert days == {("2013-02-01", 1), ("2013-02-01", 2), ("2013-02-02", 2)}
    assert monitoring.of(AlertRaised) == []
    leads = [(day["version"], day["leads"]) for day in await monitoring.closed("m")]
    assert leads == [(1, True), (2, False), (2, True)]


async def test_a_day_that_cannot_be_closed_stays_open_and_loses_no_label(
    monitoring: Desk,
) -> None:
    await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
    state = await monitoring.pool.fetchval("update monitor set state = 'x' returning state")
    before = await monitoring.pool.fetchval("select count(*) from monitor where state = $1", state)
    await live(monitoring, "m", range(3))
    model = await monitoring.model("m")
    assert (before, model["last_closed_day"], model["labels_joined"]) == (1, None, 3 * ROWS)
    assert monitoring.told == []

    await monitoring.deployed(await deployment(monitoring, "m", 2, profile()))
    await live(monitoring, "m", range(3, 4))

    assert len(monitoring.of(LabelledDataWritten)) == 3


def _without_ids(drifts: list[DriftDetected]) -> list[tuple[str, object, datetime]]:
    return [(drift.kind, drift.evidence, drift.detected_at) for drift in drifts]
