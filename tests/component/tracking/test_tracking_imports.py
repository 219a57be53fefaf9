"""What importers send: ids, times and stages are kept, and sending again changes nothing."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import httpx
from mlflow import MlflowClient
from mlflow.entities import ViewType

from headrace.events import RunFinished, RunLogged
from tests.component.tracking.listening import listening

IMPORTS = "/api/tracking/v1/imports"
FINGERPRINT = "headrace.import.fingerprint"


def column(key: str, values: list[object], *, first: int = 0) -> dict[str, object]:
    steps = list(range(first, first + len(values)))
    return {"key": key, "values": values, "steps": steps, "timestamps": [1000 + s for s in steps]}


def pairs(**members: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in members.items()]


def part(experiment: str, run_id: str, **members: object) -> dict[str, Any]:
    return {
        "experiment": {"name": experiment, "creation_time": 500, "tags": pairs(team="blue")},
        "run": {"run_id": run_id, "run_name": "old run", "start_time": 1000, **members},
    }


def last_part(experiment: str, run_id: str) -> dict[str, Any]:
    tags = [{"key": FINGERPRINT, "value": "f1"}]
    return part(experiment, run_id, status="FAILED", end_time=9000, tags=tags)


def send(http: httpx.Client, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(f"{IMPORTS}/{kind}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def finish(http: httpx.Client, run_id: str) -> None:
    closing = {"run_id": run_id, "status": "FINISHED", "end_time": 9001}
    assert http.post("/api/2.0/mlflow/runs/update", json=closing).status_code == 200


def test_a_run_keeps_its_id_times_owner_and_points(
    http: httpx.Client, client: MlflowClient
) -> None:
    experiment, run_id = f"imported {uuid4()}", uuid4().hex
    metrics = [column("loss", [3.0, "NaN", "Infinity", "-Infinity", 1.0])]
    send(
        http,
        "runs",
        part(experiment, run_id, user_id="ada", params=pairs(lr="0.1"), metrics=metrics),
    )
    send(http, "runs", last_part(experiment, run_id))

    run = client.get_run(run_id)
    home = client.get_experiment_by_name(experiment)
    assert home is not None
    assert (home.creation_time, home.tags) == (500, {"team": "blue"})
    assert (run.info.run_name, run.info.user_id, run.info.status) == ("old run", "ada", "FAILED")
    assert (run.info.start_time, run.info.end_time) == (1000, 9000)
    assert run.data.params == {"lr": "0.1"}
    values = [one.value for one in client.get_metric_history(run_id, "loss")]
    assert math.isnan(values[1])
    assert values[2:] == [math.inf, -math.inf, 1.0]


async def test_sending_again_changes_nothing_and_says_nothing(
    http: httpx.Client, client: MlflowClient, kafka: str
) -> None:
    experiment, run_id = f"again {uuid4()}", uuid4().hex
    parts = [
        part(experiment, run_id, params=pairs(a="1"), metrics=[column("m", [1.0, 2.0])]),
        part(experiment, run_id, metrics=[column("m", [3.0, "NaN"], first=2)]),
        last_part(experiment, run_id),
    ]
    async with listening(kafka) as ear:
        for body in [*parts, *parts, *parts[1:]]:
            send(http, "runs", body)
        finish(http, run_id)
        told = await ear.until_finished(run_id)
        while sum(isinstance(one.data, RunFinished) for one in told) < 2:
            await ear.listen()
            told = await ear.until_finished(run_id)
    logged = [one.data for one in told if isinstance(one.data, RunLogged)]
    assert [key for one in logged for key in one.params] == ["a"]
    assert [metric.count for one in logged for metric in one.metrics][-1] == 4
    assert sum(isinstance(one.data, RunFinished) for one in told) == 2
    assert len(client.get_metric_history(run_id, "m")) == 4


def test_a_deleted_run_of_a_deleted_experiment_arrives_deleted(
    http: httpx.Client, client: MlflowClient
) -> None:
    experiment, run_id = f"deleted {uuid4()}", uuid4().hex
    bodies = [
        part(experiment, run_id, lifecycle_stage="deleted", metrics=[column("m", [1.0])]),
        part(experiment, run_id, lifecycle_stage="deleted", metrics=[column("m", [2.0], first=1)]),
    ]
    for body in [*bodies, *bodies]:
        body["experiment"]["lifecycle_stage"] = "deleted"
        send(http, "runs", body)

    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert [one.value for one in client.get_metric_history(run_id, "m")] == [1.0, 2.0]
    home = client.get_experiment_by_name(experiment)
    assert home is not None
    assert home.lifecycle_stage == "deleted"


def test_an_experiment_with_active_runs_is_not_deleted_by_an_import(
    http: httpx.Client, client: MlflowClient
) -> None:
    name = f"ours {uuid4()}"
    client.create_run(client.create_experiment(name))
    send(http, "experiments", {"experiment": {"name": name, "lifecycle_stage": "deleted"}})
    home = client.get_experiment_by_name(name)
    assert home is not None
    assert home.lifecycle_stage == "active"


def test_a_run_of_another_experiment_is_refused(http: httpx.Client) -> None:
    run_id = uuid4().hex
    send(http, "runs", part(f"first {uuid4()}", run_id))
    answer = http.post(f"{IMPORTS}/runs", json=part(f"second {uuid4()}", run_id))
    assert answer.status_code == 400
    assert "belongs to experiment" in answer.json()["message"]


def test_an_active_run_is_not_hidden_in_a_deleted_experiment(
    http: httpx.Client, client: MlflowClient
) -> None:
    name = f"gone {uuid4()}"
    client.delete_experiment(client.create_experiment(name))
    answer = http.post(f"{IMPORTS}/runs", json=part(name, uuid4().hex))
    assert answer.status_code == 400
    assert "is deleted here" in answer.json()["message"]


def test_what_breaks_a_rule_names_the_field(http: httpx.Client) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "run_id": part("e", "-"),
        "metrics[0].key": part("e", uuid4().hex, metrics=[column("../up", [1.0])]),
        "run.metrics.0.values.0": part("e", uuid4().hex, metrics=[column("m", ["much"])]),
        "columns differ": part(
            "e", uuid4().hex, metrics=[{"key": "m", "values": [1.0], "timestamps": []}]
        ),
        "lifecycle_stage": part("e", uuid4().hex, lifecycle_stage="asleep"),
        "experiment": {"run": {"run_id": uuid4().hex}},
    }
    for expected, body in wrong.items():
        answer = http.post(f"{IMPORTS}/runs", json=body)
        assert answer.status_code == 400, (expected, answer.text)
        assert expected in answer.json()["message"]


def test_only_what_was_imported_to_its_end_is_known(http: httpx.Client) -> None:
    experiment, done, begun = f"known {uuid4()}", uuid4().hex, uuid4().hex
    send(http, "runs", last_part(experiment, done))
    send(http, "runs", part(experiment, begun))
    asked = [{"id": done, "fingerprint": "f1"}, {"id": begun, "fingerprint": "f1"}]
    changed = [{"id": done, "fingerprint": "f2"}]

    assert send(http, "known", {"runs": asked})["runs"] == [done]
    assert send(http, "known", {"runs": changed})["runs"] == []


def test_models_datasets_inputs_and_outputs_come_along(
    http: httpx.Client, client: MlflowClient
) -> None:
    experiment, run_id, model_id = f"lineage {uuid4()}", uuid4().hex, f"m-{uuid4().hex}"
    dataset = {"name": "d", "digest": "x1", "source_type": "local", "source": "{}"}
    context = pairs(**{"mlflow.data.context": "training"})
    run = part(
        experiment,
        run_id,
        datasets=[{"dataset": dataset, "tags": context}],
        model_inputs=[{"model_id": model_id}],
        model_outputs=[{"model_id": model_id, "step": 3}],
    )
    metric = {"key": "auc", "value": "NaN", "timestamp": 5, "step": 1, "run_id": run_id}
    model = {
        "experiment": run["experiment"],
        "model": {
            "model_id": model_id,
            "name": "net",
            "model_type": "agent",
            "status": "LOGGED_MODEL_READY",
            "source_run_id": run_id,
            "creation_timestamp_ms": 1500,
            "last_updated_timestamp_ms": 1600,
            "params": pairs(depth="3"),
            "tags": pairs(t="x", **{FINGERPRINT: "f1"}),
            "metrics": [metric],
        },
    }
    for _ in range(2):
        send(http, "runs", run)
        send(http, "models", model)

    found = client.get_run(run_id)
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("d", "training")
    assert [one.model_id for one in found.inputs.model_inputs] == [model_id]
    assert [(one.model_id, one.step) for one in found.outputs.model_outputs] == [(model_id, 3)]
    logged = client.get_logged_model(model_id)
    assert (logged.name, logged.status.value, logged.source_run_id) == ("net", "READY", run_id)
    assert (logged.creation_timestamp, logged.last_updated_timestamp) == (1500, 1600)
    assert logged.params == {"depth": "3"}
    assert len(logged.metrics or []) == 1
    asked = [{"id": model_id, "fingerprint": "f1"}]
    assert send(http, "known", {"models": asked})["models"] == [model_id]


def test_imported_runs_are_found_by_search(http: httpx.Client, client: MlflowClient) -> None:
    experiment, run_id = f"found {uuid4()}", uuid4().hex
    home = send(http, "runs", part(experiment, run_id, metrics=[column("m", [1.0, 5.0])]))
    found = client.search_runs(
        [home["experiment_id"]], "metrics.m > 4", run_view_type=ViewType.ACTIVE_ONLY
    )
    assert [run.info.run_id for run in found] == [run_id]
