"""Random sequences of calls: the service answers and keeps what a plain server would."""

from __future__ import annotations

import math
from typing import Final
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.component.tracking.plain import (
    OK,
    RUN_NAME,
    PlainExperiment,
    PlainRun,
    PlainServer,
    Point,
)
from tests.component.tracking.process import TrackingProcess

API: Final = "/api/2.0/mlflow"
VIEWS: Final = {"ACTIVE_ONLY": {True}, "DELETED_ONLY": {False}, "ALL": {True, False}}
some = st.integers(min_value=0, max_value=99)
names = st.sampled_from(["one", "two", "three"])
keys = st.sampled_from(["a", "b/c", RUN_NAME])
texts = st.sampled_from(["", "x", "y"])
values = st.sampled_from([-1.0, 1.0, 2.5, math.nan])
point = st.tuples(st.sampled_from(["m", "n"]), values, st.integers(1, 3), st.integers(-1, 2))
points = st.lists(point, max_size=4)
tags = st.dictionaries(st.sampled_from(["a", "b/c"]), texts, max_size=2)
params = st.dictionaries(st.sampled_from(["p", "q"]), texts, max_size=2)


class Calls(RuleBasedStateMachine):
    """What a client may do, checked against the plain server after every step."""

    http: httpx.Client

    def __init__(self) -> None:
        super().__init__()
        self.plain = PlainServer()
        self.mark = uuid4().hex

    @initialize(name=names)
    def begin(self, name: str) -> None:
        self.create_experiment(name)
        self.start_run(0)

    @rule(name=names)
    def create_experiment(self, name: str) -> None:
        named = f"{self.mark} {name}"
        expected = self.plain.may_create(named)
        answer = self.post("/experiments/create", expected, name=named)
        if expected == OK:
            number = str(answer["experiment_id"])
            self.plain.experiments[number] = PlainExperiment(name=named)

    @rule(which=some, name=names)
    def rename_experiment(self, which: int, name: str) -> None:
        number, named = self.experiment(which), f"{self.mark} {name}"
        expected = self.plain.rename(number, named)
        self.post("/experiments/update", expected, experiment_id=number, new_name=named)

    @rule(which=some, active=st.booleans())
    def move_experiment(self, which: int, active: bool) -> None:
        number = self.experiment(which)
        expected = self.plain.move(number, active=active)
        self.post(f"/experiments/{verb(active)}", expected, experiment_id=number)

    @rule(which=some, key=st.sampled_from(["a", "b"]), value=st.none() | texts)
    def tag_experiment(self, which: int, key: str, value: str | None) -> None:
        number = self.experiment(which)
        expected = self.plain.tag_experiment(number, key, value)
        deed = "delete-experiment-tag" if value is None else "set-experiment-tag"
        self.post(f"/experiments/{deed}", expected, experiment_id=number, key=key, value=value)

    @rule(which=some)
    def start_run(self, which: int) -> None:
        number = self.experiment(which)
        expected = self.plain.may_start(number)
        fields = {"experiment_id": number, "run_name": "first"}
        answer = self.post("/runs/create", expected, **fields)
        if expected == OK:
            run = PlainRun(experiment=number, name="first", tags={RUN_NAME: "first"})
            self.plain.runs[run_id_of(answer)] = run

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, active=st.booleans())
    def move_run(self, which: int, active: bool) -> None:
        run_id = self.run_id(which)
        self.plain.runs[run_id].active = active
        self.post(f"/runs/{verb(active)}", OK, run_id=run_id)
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, name=st.none() | names, status=st.sampled_from([None, "FINISHED", "RUNNING"]))
    def update_run(self, which: int, name: str | None, status: str | None) -> None:
        run_id = self.run_id(which)
        expected = self.plain.update(run_id, name=name, status=status)
        self.post("/runs/update", expected, run_id=run_id, run_name=name, status=status)
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, points=points, params=params, tags=tags)
    def log_batch(
        self, which: int, points: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        run_id = self.run_id(which)
        expected = self.plain.log(run_id, points=points, params=params, tags=tags)
        metrics = [document(point) for point in points]
        fields = {"metrics": metrics, "params": pairs(params), "tags": pairs(tags)}
        self.post("/runs/log-batch", expected, run_id=run_id, **fields)
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, point=point)
    def log_metric(self, which: int, point: Point) -> None:
        run_id = self.run_id(which)
        expected = self.plain.log(run_id, points=[point])
        self.post("/runs/log-metric", expected, run_id=run_id, **document(point))
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, key=st.sampled_from(["p", "q"]), value=texts)
    def log_param(self, which: int, key: str, value: str) -> None:
        run_id = self.run_id(which)
        expected = self.plain.log(run_id, params={key: value})
        self.post("/runs/log-parameter", expected, run_id=run_id, key=key, value=value)
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, key=keys, value=names)
    def set_tag(self, which: int, key: str, value: str) -> None:
        run_id = self.run_id(which)
        expected = self.plain.log(run_id, tags={key: value})
        self.post("/runs/set-tag", expected, run_id=run_id, key=key, value=value)
        self.check_run(run_id)

    @precondition(lambda self: self.plain.runs)
    @rule(which=some, key=keys)
    def delete_tag(self, which: int, key: str) -> None:
        run_id = self.run_id(which)
        expected = self.plain.delete_tag(run_id, key)
        self.post("/runs/delete-tag", expected, run_id=run_id, key=key)
        self.check_run(run_id)

    def teardown(self) -> None:
        for number, experiment in self.plain.experiments.items():
            self.check_experiment(number, experiment)
        for run_id in self.plain.runs:
            self.check_run(run_id)
            self.check_histories(run_id)
        self.check_search()

    def check_experiment(self, number: str, plain: PlainExperiment) -> None:
        answer = self.http.get(f"{API}/experiments/get", params={"experiment_id": number})
        found = answer.json()["experiment"]
        assert found["name"] == plain.name
        assert found["lifecycle_stage"] == stage(plain.active)
        assert {one["key"]: one["value"] for one in found.get("tags", [])} == plain.tags

    def check_run(self, run_id: str) -> None:
        run = self.http.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]
        plain, info, data = self.plain.runs[run_id], run["info"], run["data"]
        assert (info["run_name"], info["status"]) == (plain.name, plain.status)
        assert info["lifecycle_stage"] == stage(plain.active)
        assert {one["key"]: one["value"] for one in data.get("params", [])} == plain.params
        assert {one["key"]: one["value"] for one in data.get("tags", [])} == plain.tags
        latest = {one["key"]: one["value"] for one in data.get("metrics", [])}
        assert latest == {key: travelled(value) for key, value in plain.latest().items()}

    def check_histories(self, run_id: str) -> None:
        for key in ("m", "n"):
            query = {"run_id": run_id, "metric_key": key}
            found = self.http.get(f"{API}/metrics/get-history", params=query).json()
            expected = [document(point) for point in self.plain.runs[run_id].history(key)]
            assert found.get("metrics", []) == expected

    def check_search(self) -> None:
        for view, stages in (
            ("ACTIVE_ONLY", {True}),
            ("DELETED_ONLY", {False}),
            ("ALL", {True, False}),
        ):
            fields = {"experiment_ids": list(self.plain.experiments), "run_view_type": view}
            found = self.http.post(f"{API}/runs/search", json=fields).json().get("runs", [])
            expected = {one for one, run in self.plain.runs.items() if run.active in stages}
            assert {run["info"]["run_id"] for run in found} == expected

    def post(self, path: str, expected: str, **fields: object) -> dict[str, object]:
        answer = self.http.post(API + path, json=fields)
        document: dict[str, object] = answer.json()
        assert document.get("error_code", OK) == expected, f"{path} {fields}: {answer.text}"
        assert (answer.status_code == 200) == (expected == OK)
        return document

    def experiment(self, which: int) -> str:
        numbers = list(self.plain.experiments)
        return numbers[which % len(numbers)]

    def run_id(self, which: int) -> str:
        ids = list(self.plain.runs)
        return ids[which % len(ids)]


def run_id_of(answer: dict[str, object]) -> str:
    run = answer["run"]
    assert isinstance(run, dict)
    return str(run["info"]["run_id"])


def verb(active: bool) -> str:
    return "restore" if active else "delete"


def stage(active: bool) -> str:
    return "active" if active else "deleted"


def travelled(value: float) -> float | str:
    """A double as it travels."""
    return "NaN" if math.isnan(value) else value


def document(point: Point) -> dict[str, object]:
    """A point as it travels."""
    key, value, timestamp, step = point
    return {"key": key, "value": travelled(value), "timestamp": timestamp, "step": step}


def pairs(entries: dict[str, str]) -> list[dict[str, str]]:
    """Params or tags as they travel."""
    return [{"key": key, "value": value} for key, value in entries.items()]


def run_machine(tracking: TrackingProcess, *, examples: int, steps: int) -> None:
    """Try sequences of calls until one is answered otherwise than by the plain server."""
    with httpx.Client(base_url=tracking.url, timeout=30) as http:
        machine = type("CallsOfThisService", (Calls,), {"http": http})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_any_sequence_of_calls_is_answered_as_by_a_plain_server(tracking: TrackingProcess) -> None:
    run_machine(tracking, examples=15, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_long_sequences_are_answered_as_by_a_plain_server(tracking: TrackingProcess) -> None:
    run_machine(tracking, examples=100, steps=50)
