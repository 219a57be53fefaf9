from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.errors import InvalidInput
from headrace.events import MetricColumn, RunReported
from services.tracking.domain.batches import Written
from services.tracking.domain.entities import RunInfo, RunStatus
from services.tracking.domain.facts import has_finished, run_finished, run_logged
from services.tracking.domain.intake import check_report, entry_of_report
from services.tracking.domain.points import Columns, Points, columns_of
from services.tracking.domain.summaries import summaries_of


def run(status: RunStatus = "RUNNING", end_time: int | None = None) -> RunInfo:
    return RunInfo(
        run_id="r",
        experiment_id="1",
        name="n",
        user_id="",
        status=status,
        start_time=1000,
        end_time=end_time,
        artifact_uri="mlflow-artifacts:/1/r/artifacts",
        lifecycle_stage="active",
    )


def test_columns_become_points_and_steps_may_be_left_out() -> None:
    columns = MetricColumn(key="loss", values=[2.0, 1.0], timestamps=[5, 6])
    entry = entry_of_report(RunReported(run_id="r", metrics=[columns], params={"a": "1"}))
    assert isinstance(entry.points, Columns)
    assert list(entry.points.points()) == [("loss", 2.0, 5, 0), ("loss", 1.0, 6, 0)]
    assert entry.params == {"a": "1"}


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (RunReported(run_id="-"), "run_id"),
        (RunReported(run_id="r", project="other"), "project"),
        (RunReported(run_id="r", start_time=-1), "start_time"),
        (RunReported(run_id="r", end_time=2**63), "end_time"),
        (
            RunReported(
                run_id="r",
                metrics=[MetricColumn(key="m", values=[0.0] * 200_001, timestamps=[])],
            ),
            "metrics",
        ),
    ],
)
def test_a_report_with_a_bad_field_names_it(report: RunReported, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_report(report, project="default")
    assert caught.value.field == field


def test_a_change_to_a_final_status_is_an_end_and_only_once() -> None:
    assert has_finished(run(), run("FINISHED"))
    assert has_finished(run("FINISHED"), run("FAILED"))
    assert not has_finished(run("FINISHED"), run("FINISHED", 5))
    assert not has_finished(run("FINISHED"), run("RUNNING"))


def test_an_end_without_a_time_is_now() -> None:
    now = datetime(2013, 1, 1, tzinfo=UTC)
    event = run_finished(
        "default",
        run("FAILED"),
        summaries_of(columns_of(Points.of([("loss", 0.5, 1, 1)]))),
        now=now,
    )
    assert (event.finished_at, event.metrics) == (now, {"loss": 0.5})


def test_an_impossible_time_does_not_stop_a_run_from_ending() -> None:
    now = datetime(2013, 1, 1, tzinfo=UTC)
    event = run_finished("default", run("FAILED", 2**62), [], now=now)
    assert event.finished_at.year == 9999


def test_what_was_logged_is_told_as_it_was_kept() -> None:
    written = Written(
        params={"a": "1"}, metrics=summaries_of(columns_of(Points.of([("loss", 2.0, 7, 3)])))
    )
    (event,) = run_logged("default", run(), written)
    (loss,) = event.metrics
    assert (loss.last, loss.step, loss.timestamp, loss.count) == (2.0, 3, 7, 1)
    assert event.params == {"a": "1"}
