"""Steps, pipelines and the graph that they compile to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from headrace.errors import InvalidInput
from headrace.pipelines import PipelineError, Plan, Resources, Retry, StepContext, pipeline, step
from headrace.pipelines.options import seconds_of

CHECKOUT = Path(__file__).resolve().parents[3]


class Both(NamedTuple):
    table: pa.Table
    rows: int


@step(retry=Retry(attempts=3, backoff=0.5), timeout="10m", resources=Resources(threads=2))
def load(context: StepContext, source: str) -> Both:
    context.log("loading")
    return Both(pa.table({"x": [1, 2, 3]}), len(source))


@step
def mean(table: pa.Table, scale: float = 1.0) -> float:
    return float(np.mean(table["x"].to_numpy())) * scale


@step
def describe(mean: float, count: int) -> str:
    return f"{mean} of {count}"


@pipeline(preload=["json"])
def report(source: str, scale: float = 2.0) -> None:
    both = load(source)
    describe(mean(both.table, scale), both.rows)


def test_the_body_becomes_a_graph_of_its_steps() -> None:
    plan = report.plan()
    assert [node.name for node in plan.steps] == ["load", "mean", "describe"]
    assert plan.step("describe").upstream == {"load", "mean"}
    assert plan.downstream("load") == ("mean", "describe")
    assert plan.step("load").retry.attempts == 3
    assert plan.step("load").timeout == 600
    assert plan.step("load").threads == 2
    assert plan.preload == ("json",)


def test_a_plan_survives_json_with_its_digest() -> None:
    plan = report.plan()
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.digest == plan.digest


def test_a_document_that_is_no_plan_is_refused() -> None:
    with pytest.raises(PipelineError, match="not a pipeline plan"):
        Plan.from_json({"name": "x"})


def test_a_step_is_a_plain_function_elsewhere() -> None:
    assert mean(pa.table({"x": [1, 3]}), scale=2.0) == 4.0


def test_a_type_error_names_both_ends() -> None:
    @pipeline()
    def wrong(source: str) -> None:
        both = load(source)
        describe(both.table, both.rows)

    expected = (
        r"pipeline wrong: step describe input 'mean' expects float,"
        r" but step load output 'table' gives pyarrow\.lib\.Table"
    )
    with pytest.raises(PipelineError, match=expected):
        wrong.plan()


def test_a_parameter_of_the_wrong_type_names_both_ends() -> None:
    @pipeline()
    def wrong(source: int) -> None:
        load(source)

    with pytest.raises(PipelineError, match=r"expects str, but parameter source gives int"):
        wrong.plan()


def test_a_constant_of_the_wrong_type_is_refused() -> None:
    @pipeline()
    def wrong() -> None:
        load(3)

    with pytest.raises(PipelineError, match="expects str, got the constant 3"):
        wrong.plan()


def test_a_missing_input_is_named() -> None:
    @pipeline()
    def wrong() -> None:
        load()

    with pytest.raises(PipelineError, match=r"step load needs input 'source' \(str\)"):
        wrong.plan()


def test_an_input_that_the_step_does_not_have_is_named() -> None:
    @pipeline()
    def wrong(source: str) -> None:
        load(source, speed=3)

    with pytest.raises(PipelineError, match="has no input 'speed'; it has: source"):
        wrong.plan()


def test_a_decision_in_the_body_says_where_it_belongs() -> None:
    @pipeline()
    def wrong(source: str) -> None:
        if mean(load(source).table) > 1.0:
            load(source)

    with pytest.raises(PipelineError, match="put the decision or the arithmetic inside a step"):
        wrong.plan()


def test_a_parameter_without_annotation_is_refused() -> None:
    @step
    def bare(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return x

    with pytest.raises(PipelineError, match="step bare: parameter 'x' has no annotation"):
        _ = bare.signature


def test_a_default_of_the_wrong_type_is_refused() -> None:
    @pipeline()
    def wrong(source: str = 3) -> None:  # type: ignore[assignment]
        load(source)

    with pytest.raises(PipelineError, match="parameter source is str, but its default is 3"):
        wrong.plan()


def test_a_pipeline_without_steps_is_refused() -> None:
    @pipeline()
    def empty() -> None:
        return

    with pytest.raises(PipelineError, match="calls no step"):
        empty.plan()


def test_the_same_step_twice_is_two_nodes() -> None:
    @pipeline()
    def twice(source: str) -> None:
        load(source)
        load(source)

    assert [node.name for node in twice.plan().steps] == ["load", "load_2"]


def test_arguments_are_checked_and_completed() -> None:
    plan = report.plan()
    assert plan.arguments({"source": "a"}) == {"source": "a", "scale": 2.0}
    assert plan.arguments({"source": "a", "scale": 3}) == {"source": "a", "scale": 3.0}
    assert plan.arguments({}, offered={"source": "b", "other": 1})["source"] == "b"


@pytest.mark.parametrize(
    ("given", "field"),
    [({}, "source"), ({"source": 1}, "source"), ({"source": "a", "speed": 1}, "speed")],
)
def test_bad_arguments_name_the_parameter(given: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        report.plan().arguments(given)
    assert caught.value.field == f"parameters.{field}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("10m", 600), ("2h", 7200), (1.5, 1.5)]
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_a_duration_without_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a number and one of"):
        seconds_of("10")


def test_importing_is_light() -> None:
    """No runtime, no numeric library; the time is bounded generously for a busy machine."""
    code = (
        "import sys, time; begun = time.process_time(); import headrace.pipelines;"
        "seconds = time.process_time() - begun;"
        "heavy = {'numpy', 'pyarrow', 'pydantic', 'httpx', 'headrace.runtime', 'asyncio'};"
        "print(seconds, sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "shared")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    seconds, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.15
