"""The counts of a model version are the same whoever asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from services.serving.worker.calls import NOTHING_BESIDE
from services.serving.worker.failure import Code, Failure
from services.serving.worker.meters import reason
from services.serving.worker.statistics import ModelStatistics
from tests.harness import onnx_models
from tests.harness.callers import Answers, one_row
from tests.harness.data_plane import DataPlane, data_plane

LABELS = {"model": "m", "version": "4"}


@pytest.fixture
def plane(tmp_path: Path) -> DataPlane:
    """A model that was asked alone, in a batch of three, and wrongly."""
    made = data_plane(tmp_path)
    made.answer_with({"m": made.load("m", 4, onnx_models.constant(1.0))})
    payload = one_row("m", [0, 0, 0, 0])
    made.inference.infer(payload, NOTHING_BESIDE)
    answers = Answers()
    made.inference.accept([answers.arrival(call, payload) for call in range(3)])
    answers.wait(3)
    with pytest.raises(Failure):
        made.inference.infer(one_row("m", [0]), NOTHING_BESIDE)
    return made


def _counted(plane: DataPlane) -> ModelStatistics:
    (counted,) = plane.statistics.of([("m", 4)])
    return counted


def test_requests_of_a_batch_count_each_and_its_run_once(plane: DataPlane) -> None:
    counted = _counted(plane)
    assert (counted.success.count, counted.fail.count) == (4, 1)
    assert (counted.inferences, counted.executions) == (4, 2)
    assert counted.queue.count == counted.compute_infer.count == 4
    assert {rows: batch.compute_infer.count for rows, batch in counted.batches.items()} == {
        1: 1,
        3: 1,
    }


def test_time_of_a_request_is_its_wait_and_its_run(plane: DataPlane) -> None:
    counted = _counted(plane)
    parts = (counted.queue, counted.compute_input, counted.compute_infer, counted.compute_output)
    assert sum(part.ns for part in parts) == counted.success.ns


@pytest.mark.parametrize(
    ("series", "field"),
    [
        ("nv_inference_request_duration_us", "success"),
        ("nv_inference_queue_duration_us", "queue"),
        ("nv_inference_compute_input_duration_us", "compute_input"),
        ("nv_inference_compute_infer_duration_us", "compute_infer"),
        ("nv_inference_compute_output_duration_us", "compute_output"),
    ],
)
def test_durations_of_prometheus_are_those_of_the_statistics(
    plane: DataPlane, series: str, field: str
) -> None:
    value = plane.metrics.registry.get_sample_value(series, LABELS)
    assert value == getattr(_counted(plane), field).ns // 1000


def test_counts_of_prometheus_are_those_of_the_statistics(plane: DataPlane) -> None:
    def value(name: str, **more: str) -> float | None:
        return plane.metrics.registry.get_sample_value(name, LABELS | more)

    assert value("nv_inference_request_success") == value("inference_requests_total") == 4
    assert value("nv_inference_count") == value("inference_rows_total") == 4
    assert value("nv_inference_exec_count") == value("inference_runs_total") == 2
    assert value("inference_seconds_count") == 4
    assert value("inference_failures_total", code="INVALID_ARGUMENT") == 1
    assert value("nv_inference_request_failure", reason="OTHER") == 1
    assert value("nv_inference_pending_request_count") == value("inference_queue_depth") == 0
    assert value("inference_in_flight") == 0


def test_series_of_triton_have_its_names_and_types(plane: DataPlane) -> None:
    lines = generate_latest(plane.metrics.registry).decode().splitlines()

    assert "# TYPE nv_inference_count counter" in lines
    assert 'nv_inference_count{model="m",version="4"} 4.0' in lines
    assert 'nv_inference_request_failure{model="m",reason="OTHER",version="4"} 1.0' in lines
    assert not [line for line in lines if "nv_" in line and "_total" in line]
    assert 'inference_rows_total{model="m",version="4"} 4.0' in lines


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Code.RESOURCE_EXHAUSTED, "REJECTED"),
        (Code.DEADLINE_EXCEEDED, "REJECTED"),
        (Code.CANCELLED, "CANCELED"),
        (Code.INTERNAL, "BACKEND"),
        (Code.INVALID_ARGUMENT, "OTHER"),
    ],
)
def test_failures_have_the_reasons_of_triton(code: Code, word: str) -> None:
    assert reason(code) == word
