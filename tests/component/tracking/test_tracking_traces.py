"""Traces of an unmodified client: what it sends is what it reads back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Trace


@pytest.fixture
def traced(client: MlflowClient, experiment: str) -> Iterator[str]:
    """A fresh experiment that traces go to at once, each in the caller's thread."""
    _ = client
    mlflow.set_experiment(experiment_id=experiment)
    mlflow.tracing.reset()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        yield experiment
    mlflow.tracing.reset()


def last_trace() -> Trace:
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id is not None
    trace = mlflow.get_trace(trace_id)
    assert trace is not None
    return trace


def test_a_decorated_function_is_traced_with_inputs_and_outputs(traced: str) -> None:
    @mlflow.trace(name="adder", span_type="TOOL", attributes={"unit": "mm"})
    def add(left: int, right: int) -> int:
        return left + right

    assert add(2, right=3) == 5
    trace = last_trace()
    assert trace.info.experiment_id == traced
    assert trace.info.state == "OK"
    assert trace.info.tags["mlflow.traceName"] == "adder"
    assert trace.info.tags["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    root = f"mlflow-artifacts:/{traced}/traces/{trace.info.trace_id}/artifacts"
    assert trace.info.tags["mlflow.artifactLocation"] == root
    (span,) = trace.data.spans
    assert (span.name, span.span_type, span.parent_id) == ("adder", "TOOL", None)
    assert span.inputs == {"left": 2, "right": 3}
    assert span.outputs == 5
    assert span.attributes["unit"] == "mm"
    assert time.time() * 1000 - trace.info.request_time < 60_000
