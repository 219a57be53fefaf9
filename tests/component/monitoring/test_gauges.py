"""Metrics say what became of predictions and labels, and how near the detectors are."""

from __future__ import annotations

from deploy.local.testing import TestBucket, TestDatabase
from headrace.runtime.telemetry import Metrics
from services.monitoring.gauges import Gauges
from tests.harness.monitoring import at, deployment, desk, drifting_day, label, profile


async def test_gauges_show_the_store_and_only_the_version_that_answers(
    database: TestDatabase, bucket: TestBucket
) -> None:
    metrics = Metrics()
    async with desk(database, bucket) as monitoring:
        gauges = Gauges(
            metrics=metrics,
            pool=monitoring.pool,
            project="default",
            log=monitoring.context.log,
        )
        await monitoring.deployed(await deployment(monitoring, "m", 1, profile()))
        logged, labels = drifting_day("m", 0)
        await monitoring.predictions(logged)
        await monitoring.labels(*labels[:150], label("m", "nobody", at(9)))
        await gauges.refresh()
        first = _values(metrics)
        await monitoring.deployed(await deployment(monitoring, "m", 2, profile()))
        await gauges.refresh()
        second = _values(metrics)

    assert first["monitoring_rows", "predictions"] == 200
    assert first["monitoring_rows", "labels_joined"] == 150
    assert first["monitoring_rows", "labels_pending"] == 1
    assert first["monitoring_rows", "segment_rows"] == 0
    assert first["monitoring_label_coverage", ""] == 0.75
    assert first["monitoring_event_time_seconds", "predictions"] > 0
    assert first["monitoring_drift_pressure", "1"] == 0
    assert ("monitoring_drift_pressure", "1") not in second
    assert second["monitoring_drift_pressure", "2"] == 0


def _values(metrics: Metrics) -> dict[tuple[str, str], float]:
    """By metric and its telling label: state, stream or version."""
    return {
        (
            sample.name,
            next(
                (sample.labels[n] for n in ("state", "stream", "version") if n in sample.labels), ""
            ),
        ): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
    }
