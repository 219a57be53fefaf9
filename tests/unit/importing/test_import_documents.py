"""Answers of MLflow servers, old ones too."""

from __future__ import annotations

import math

import pytest

from headrace.cli.imports.mlflow_documents import registered_model_of, run_of, series_of_points
from headrace.cli.imports.sources import fingerprint

RUN = {
    "info": {
        "run_uuid": "r1",
        "experiment_id": "0",
        "status": "FINISHED",
        "start_time": "10",
        "end_time": 20,
        "lifecycle_stage": "active",
    },
    "data": {
        "metrics": [{"key": "m", "value": 1.0, "timestamp": 5}],
        "tags": [{"key": "mlflow.runName", "value": "old"}],
    },
}


def test_a_run_of_an_old_server_is_read() -> None:
    found = run_of(RUN)
    assert (found.run_id, found.name, found.user_id) == ("r1", "old", "")
    assert (found.start_time, found.end_time) == (10, 20)


def test_a_later_point_changes_the_fingerprint() -> None:
    later = {**RUN, "data": {"metrics": [{"key": "m", "value": 1.0, "timestamp": 6}]}}
    marks = [fingerprint(run_of(one), with_artifacts=True) for one in (RUN, RUN, later)]
    assert marks[0] == marks[1] != marks[2]


def test_files_that_were_left_out_change_the_fingerprint() -> None:
    run = run_of(RUN)
    assert fingerprint(run, with_artifacts=True) != fingerprint(run, with_artifacts=False)


def test_words_are_numbers_and_the_largest_double_is_infinity() -> None:
    values: list[object] = ["NaN", 1.7976931348623157e308, "-Infinity", 2.0]
    points = [
        {"key": "m", "value": value, "timestamp": place, "step": place}
        for place, value in enumerate(values)
    ]
    found = series_of_points("m", points).values.tolist()
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 2.0]


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("mlflow-artifacts:/1/r1/artifacts/model", "runs:/r1/model"),
        ("s3://bucket/1/r1/artifacts/deep/model", "runs:/r1/deep/model"),
        ("runs:/r1/model", "runs:/r1/model"),
        ("models:/m-0123", "models:/m-0123"),
        ("mlflow-artifacts:/1/models/m-0123/artifacts", "models:/m-0123"),
        ("s3://bucket/elsewhere", "s3://bucket/elsewhere"),
    ],
)
def test_a_version_comes_from_the_same_run_or_model(source: str, here: str) -> None:
    version = {"version": "3", "source": source, "run_id": "r1"}
    model = registered_model_of({"name": "net"}, [version])
    assert [(one.number, one.source) for one in model.versions] == [(3, here)]
