"""A request for every endpoint that would be accepted, for tests that spoil one thing of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from services.tracking.api.surface import OPERATIONS, Operation, Parameter

API = "/api/2.0/mlflow"
MODEL_NOTE = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": "r"}'
BY_KIND: dict[str, object] = {
    "long": 1,
    "time": 1,
    "real": 0.5,
    "truth": False,
    "pairs": [],
    "metrics": [],
    "datasets": [],
    "measured": [],
    "orders": [],
    "view": "ALL",
    "status": "RUNNING",
    "readiness": "LOGGED_MODEL_READY",
}
BY_NAME: dict[str, object] = {
    "filter": "",
    "page_token": "",
    "order_by": [],
    "artifact_location": "s3://bucket/path",
    "artifact_directory_path": "",
    "dataset_name": "",
    "dataset_digest": "",
    "model_json": MODEL_NOTE,
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """Things that exist."""

    experiment_id: str
    run_id: str
    model_id: str

    def value(self, parameter: Parameter) -> object:
        """An acceptable value."""
        named = {**BY_NAME, "experiment_id": self.experiment_id, "model_id": self.model_id}
        if parameter.kind == "texts":
            ids = [self.run_id] if parameter.name.startswith("run") else [self.experiment_id]
            return [] if parameter.name == "order_by" else ids
        if parameter.kind == "models":
            return [{"model_id": self.model_id}]
        if parameter.name == "run_id":
            return self.run_id
        return BY_KIND.get(parameter.kind, named.get(parameter.name, "x"))

    def fields(self, operation: Operation) -> dict[str, object]:
        """All fields of an acceptable request."""
        return {one.name: self.value(one) for one in operation.parameters}


def made(http: httpx.Client, name: str) -> Known:
    """A fresh experiment with a run and a logged model."""
    experiment = http.post(f"{API}/experiments/create", json={"name": name}).json()
    run = http.post(f"{API}/runs/create", json=experiment).json()["run"]["info"]["run_id"]
    model = http.post(f"{API}/logged-models", json=experiment).json()["model"]["info"]["model_id"]
    return Known(experiment_id=experiment["experiment_id"], run_id=run, model_id=model)


def send(
    http: httpx.Client, operation: Operation, fields: dict[str, object], known: Known
) -> httpx.Response:
    """Call an endpoint: a query for GET, else a JSON body."""
    path = API + operation.path.replace("{model_id}", known.model_id).replace("{key}", "k")
    if operation.method == "GET":
        return http.get(path, params=flat(fields))
    return http.request(operation.method, path, json=fields)


def flat(fields: dict[str, object]) -> dict[str, str | list[str]]:
    """Fields as query parameters; a list comes as often as it has items."""
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value)
        for name, value in fields.items()
    }


def parameters(*, required: bool = False) -> Iterator[tuple[Operation, Parameter]]:
    """Every field of every endpoint, or only those that must be there."""
    for operation in OPERATIONS:
        for parameter in operation.parameters:
            if parameter.required or not required:
                yield operation, parameter


def name_of(value: object) -> str:
    """What a case is called in the test's name."""
    if isinstance(value, Operation):
        return f"{value.method} {value.path}"
    return value.name if isinstance(value, Parameter) else str(value)[:20]


def refused(answer: httpx.Response, *parts: str) -> None:
    """Assert MLflow's error for a wrong parameter, its text holding all parts."""
    assert answer.status_code == 400, answer.text
    document = answer.json()
    assert document["error_code"] == "INVALID_PARAMETER_VALUE", answer.text
    for part in parts:
        assert part in document["message"], answer.text
