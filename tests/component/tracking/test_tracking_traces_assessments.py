"""What people, judges and code say of traces."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Expectation, Feedback
from mlflow.exceptions import MlflowException

ADA = AssessmentSource(source_type="HUMAN", source_id="ada")


@pytest.fixture
def trace_id(traced: str) -> str:
    _ = traced
    with mlflow.start_span("answer") as span:
        pass
    return str(span.trace_id)


@pytest.mark.parametrize("value", [True, 0.5, 3, "good", [1, "two"], {"a": 1}, None])
def test_feedback_keeps_its_value(trace_id: str, value: object) -> None:
    made = mlflow.log_feedback(
        trace_id=trace_id,
        name="quality",
        value=value,
        source=ADA,
        rationale="because",
        metadata={"model": "m"},
        error=ValueError("no") if value is None else None,
    )
    found = mlflow.get_assessment(trace_id, made.assessment_id)
    assert isinstance(found, Feedback)
    assert (found.name, found.value, found.rationale) == ("quality", value, "because")
    assert (found.source, found.metadata, found.trace_id) == (ADA, {"model": "m"}, trace_id)
    assert found.valid is True
    assert (found.error is None) == (value is not None)


@pytest.mark.parametrize("value", [True, 2.5, "right", [1, {"b": None}], {"a": [1]}])
def test_an_expectation_keeps_its_value(trace_id: str, value: object) -> None:
    made = mlflow.log_expectation(trace_id=trace_id, name="answer", value=value, source=ADA)
    found = mlflow.get_assessment(trace_id, made.assessment_id)
    assert isinstance(found, Expectation)
    assert found.value == value


def test_assessments_come_with_their_trace(trace_id: str, client: MlflowClient) -> None:
    mlflow.log_feedback(trace_id=trace_id, name="first", value=1)
    mlflow.log_expectation(trace_id=trace_id, name="second", value="x")
    names = [one.name for one in client.get_trace(trace_id).info.assessments]
    assert names == ["first", "second"]


def test_an_assessment_inside_the_trace_is_stored_with_it(traced: str) -> None:
    _ = traced
    with mlflow.start_span("answer") as span:
        mlflow.log_feedback(trace_id=span.trace_id, name="inside", value=1)
    trace = mlflow.get_trace(span.trace_id)
    assert trace is not None
    (one,) = trace.info.assessments
    assert (one.name, one.trace_id) == ("inside", span.trace_id)
    assert mlflow.get_assessment(span.trace_id, one.assessment_id).name == "inside"


def test_an_update_changes_what_it_names_and_adds_metadata(trace_id: str) -> None:
    made = mlflow.log_feedback(
        trace_id=trace_id, name="quality", value=1, source=ADA, metadata={"a": "1"}
    )
    changed = Feedback(name="quality", value=2, rationale="better", metadata={"b": "2"})
    mlflow.update_assessment(trace_id, made.assessment_id, changed)
    found = mlflow.get_assessment(trace_id, made.assessment_id)
    assert (found.value, found.rationale) == (2, "better")
    assert found.metadata == {"a": "1", "b": "2"}
    assert found.source == ADA
    assert found.create_time_ms == made.create_time_ms
    assert found.last_update_time_ms >= made.last_update_time_ms
    with pytest.raises(MlflowException, match="Cannot update expectation value on a Feedback"):
        mlflow.update_assessment(trace_id, made.assessment_id, Expectation(name="quality", value=1))


def test_an_override_takes_the_place_of_another_until_it_is_deleted(trace_id: str) -> None:
    old = mlflow.log_feedback(trace_id=trace_id, name="quality", value=1)
    new = mlflow.override_feedback(
        trace_id=trace_id, assessment_id=old.assessment_id, value=5, source=ADA
    )
    assert mlflow.get_assessment(trace_id, old.assessment_id).valid is False
    assert mlflow.get_assessment(trace_id, new.assessment_id).overrides == old.assessment_id
    mlflow.delete_assessment(trace_id, new.assessment_id)
    assert mlflow.get_assessment(trace_id, old.assessment_id).valid is True
    mlflow.delete_assessment(trace_id, new.assessment_id)


def test_a_missing_assessment_and_a_missing_trace_are_told_apart(trace_id: str) -> None:
    with pytest.raises(MlflowException, match=f"'a-none' not found for trace '{trace_id}'"):
        mlflow.get_assessment(trace_id, "a-none")
    with pytest.raises(MlflowException, match="Trace with ID 'tr-none' not found"):
        mlflow.log_feedback(trace_id="tr-none", name="x", value=1)
    with pytest.raises(MlflowException, match="Trace with ID 'tr-none' not found"):
        mlflow.delete_assessment("tr-none", "a-none")
