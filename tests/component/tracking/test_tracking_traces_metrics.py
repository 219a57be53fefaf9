"""Counts, latencies, tokens and scores of traces, as MLflow's dashboards ask for them."""

from __future__ import annotations

import json

import httpx
import mlflow
import pytest
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.tracing.client import TracingClient

SECOND = 10**9


@pytest.fixture
def measured(traced: str) -> str:
    """An experiment with three traces of one, two and three seconds."""
    for seconds in (1, 2, 3):
        span = mlflow.start_span_no_context(
            "slow" if seconds > 1 else "fast",
            start_time_ns=seconds * 60 * SECOND,
            tags={"place": str(seconds)},
            metadata={
                "mlflow.trace.session": "one" if seconds < 3 else "other",
                "mlflow.trace.tokenUsage": json.dumps({"input_tokens": seconds * 10}),
            },
        )
        span.end(end_time_ns=(seconds * 60 + seconds) * SECOND)
        mlflow.log_feedback(trace_id=span.trace_id, name="score", value=seconds / 10)
    return traced


def values(
    experiment: str, view: MetricViewType, metric: str, *kinds: AggregationType, **rest: object
) -> list[tuple[dict[str, str], dict[str, float]]]:
    aggregations = [
        MetricAggregation(kind, 50.0 if kind == AggregationType.PERCENTILE else None)
        for kind in kinds
    ]
    found = TracingClient().store.query_trace_metrics(
        [experiment], view, metric, aggregations, **rest
    )
    return [(one.dimensions, one.values) for one in found]


def test_traces_are_counted_by_name(measured: str) -> None:
    found = values(
        measured,
        MetricViewType.TRACES,
        "trace_count",
        AggregationType.COUNT,
        dimensions=["trace_name"],
    )
    assert found == [({"trace_name": "fast"}, {"COUNT": 1}), ({"trace_name": "slow"}, {"COUNT": 2})]


def test_latencies_are_aggregated(measured: str) -> None:
    kinds = (
        AggregationType.AVG,
        AggregationType.MIN,
        AggregationType.MAX,
        AggregationType.PERCENTILE,
    )
    found = values(measured, MetricViewType.TRACES, "latency", *kinds)
    assert found == [({}, {"AVG": 2000, "MIN": 1000, "MAX": 3000, "P50.0": 2000})]


def test_sessions_and_tokens_are_counted_under_a_filter(measured: str) -> None:
    traces = MetricViewType.TRACES
    assert values(measured, traces, "session_count", AggregationType.COUNT) == [({}, {"COUNT": 2})]
    tokens = values(
        measured,
        traces,
        "input_tokens",
        AggregationType.SUM,
        filters=["trace.tag.place != '3'", "trace.status = 'OK'"],
    )
    assert tokens == [({}, {"SUM": 30})]


def test_time_is_cut_into_intervals(measured: str) -> None:
    found = values(
        measured,
        MetricViewType.TRACES,
        "trace_count",
        AggregationType.COUNT,
        time_interval_seconds=120,
        start_time_ms=0,
        end_time_ms=200_000,
    )
    assert found == [
        ({"time_bucket": "1970-01-01T00:00:00+00:00"}, {"COUNT": 1}),
        ({"time_bucket": "1970-01-01T00:02:00+00:00"}, {"COUNT": 2}),
    ]


def test_scores_are_aggregated_by_name(measured: str) -> None:
    found = values(
        measured,
        MetricViewType.ASSESSMENTS,
        "assessment_value",
        AggregationType.MAX,
        dimensions=["assessment_name"],
        filters=["assessment.name = 'score'"],
    )
    assert found == [({"assessment_name": "score"}, {"MAX": 0.3})]


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"view_type": "SPANS"}, 501, "SPANS"),
        ({"view_type": None}, 400, "view_type"),
        ({"metric_name": "speed"}, 400, "metric_name must be one of"),
        ({"aggregations": []}, 400, "aggregations"),
        ({"aggregations": [{"aggregation_type": "SUM"}]}, 400, "['SUM']"),
        ({"dimensions": ["colour"]}, 400, "['colour']"),
        ({"time_interval_seconds": 5}, 400, "start_time_ms and end_time_ms are required"),
        ({"filters": ["span.name = 'x'"]}, 400, "spans"),
    ],
)
def test_a_wrong_question_is_refused_by_name(
    http: httpx.Client, change: dict[str, object], status: int, part: str
) -> None:
    fields = {
        "experiment_ids": ["0"],
        "view_type": "TRACES",
        "metric_name": "trace_count",
        "aggregations": [{"aggregation_type": "COUNT"}],
        **change,
    }
    answer = http.post("/api/3.0/mlflow/traces/metrics", json=fields)
    assert answer.status_code == status
    assert part in answer.json()["message"]
