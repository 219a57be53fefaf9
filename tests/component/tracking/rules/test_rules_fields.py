"""Every field of every endpoint: absent, empty, of a wrong type, in another spelling."""

from __future__ import annotations

import re
from typing import Final

import httpx
import pytest

from services.tracking.api.surface import OPERATIONS, Operation, Parameter
from tests.component.tracking.rules.known import (
    API,
    Known,
    name_of,
    parameters,
    refused,
    send,
)

WRONG: Final[dict[str, tuple[object, ...]]] = {
    "text": (5, 1.5, True, [], {}),
    "long": ("x", 1.5, True, {}, 2**63, "9" * 30),
    "time": ("x", 1.5, -1, 2**63),
    "real": ("x", True, [], {}),
    "truth": ("maybe", 1, []),
    "texts": ("x", 5, [5], [["x"]], {}),
    "pairs": ("x", [5], [{"key": 5, "value": "x"}], [{"key": "x", "value": 5}], {}),
    "metrics": ("x", [5], [{"key": 5}], {}),
    "models": ("x", [5], [{"model_id": 5}]),
    "datasets": ("x", [5], [{"dataset": 5}]),
    "measured": ("x", [5], [{"dataset_name": 5}]),
    "orders": ("x", [5], [{"field_name": 5}]),
    "view": ("SOME", 9, []),
    "status": ("DONE", 9, "²", []),
    "readiness": ("DONE", 9, {}),
}
SPELLED_TWICE: Final = [
    one
    for one in OPERATIONS
    if one.method != "GET" and any("_" in parameter.name for parameter in one.parameters)
]
OF_QUERY: Final = {"text", "texts"}
OWN_WORDS: Final = {
    "/experiments/search-datasets": "must specify at least one experiment_id",
    "/metrics/get-history-bulk": "GetMetricHistoryBulk request must specify a",
}


def wrong_values() -> list[tuple[Operation, Parameter, object]]:
    return [
        (operation, parameter, value)
        for operation, parameter in parameters()
        for value in WRONG[parameter.kind]
        if operation.method != "GET" or (parameter.kind not in OF_QUERY and isinstance(value, str))
    ]


@pytest.mark.parametrize(("operation", "parameter"), list(parameters(required=True)), ids=name_of)
def test_a_required_field_that_is_absent_is_named(
    http: httpx.Client, known: Known, operation: Operation, parameter: Parameter
) -> None:
    fields = known.fields(operation)
    del fields[parameter.name]
    expected = f"Missing value for required parameter '{parameter.name}'."
    refused(send(http, operation, fields, known), OWN_WORDS.get(operation.path, expected))


def test_an_empty_required_text_counts_as_absent(http: httpx.Client, known: Known) -> None:
    for operation, parameter in parameters(required=True):
        if parameter.kind != "text" or operation.path in OWN_WORDS:
            continue
        fields = {**known.fields(operation), parameter.name: ""}
        refused(send(http, operation, fields, known), parameter.name)


def test_a_null_counts_as_absent(http: httpx.Client, known: Known) -> None:
    for operation, parameter in parameters():
        if operation.method == "GET" or parameter.required:
            continue
        if operation.path in ("/experiments/create", "/runs/outputs"):
            continue
        fields = {**known.fields(operation), parameter.name: None}
        answer = send(http, operation, fields, known)
        assert answer.status_code == 200, f"{name_of(operation)} {parameter.name}: {answer.text}"


def test_a_wrong_type_is_refused_and_named(http: httpx.Client, known: Known) -> None:
    for operation, parameter, value in wrong_values():
        answer = send(http, operation, {**known.fields(operation), parameter.name: value}, known)
        case = f"{name_of(operation)} {parameter.name}={value!r}: {answer.text}"
        assert answer.status_code == 400, case
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE", case
        assert mentions(answer.json()["message"], parameter), case


def mentions(message: str, parameter: Parameter) -> bool:
    """Whether an error names the field, or a member of the object that the field is."""
    members = ("key", "value", "model_id", "dataset", "dataset_name", "field_name")
    names = [parameter.name] if parameter.kind == "text" else [parameter.name, *members]
    return any(name in message for name in names)


@pytest.mark.parametrize("operation", SPELLED_TWICE, ids=name_of)
def test_lower_camel_case_is_read_and_both_spellings_are_refused(
    http: httpx.Client, known: Known, operation: Operation
) -> None:
    names = [one.name for one in operation.parameters if "_" in one.name]
    fields = known.fields(operation)
    camel = re.sub(r"_(\w)", lambda found: found[1].upper(), names[0])
    refused(send(http, operation, {**fields, camel: fields[names[0]]}, known), names[0])


def test_fields_that_nobody_knows_are_ignored(http: httpx.Client, known: Known) -> None:
    fields = {"run_id": known.run_id, "key": "k", "value": "v", "later": {"a": [1]}}
    assert http.post(f"{API}/runs/set-tag", json=fields).json() == {}


@pytest.mark.parametrize("name", ["run_id", "run_uuid"])
def test_a_run_is_named_by_either_name(http: httpx.Client, known: Known, name: str) -> None:
    answer = http.get(f"{API}/runs/get", params={name: known.run_id})
    assert answer.json()["run"]["info"]["run_uuid"] == known.run_id


def test_an_integer_may_travel_as_text_or_as_a_whole_double(
    http: httpx.Client, known: Known
) -> None:
    for step in ("5", 5.0, 5):
        fields = {"run_id": known.run_id, "key": "x", "value": 1, "timestamp": "7", "step": step}
        assert http.post(f"{API}/runs/log-metric", json=fields).json() == {}
    query = {"run_id": known.run_id, "metric_key": "x"}
    found = http.get(f"{API}/metrics/get-history", params=query).json()
    assert found == {"metrics": [{"key": "x", "value": 1.0, "timestamp": 7, "step": 5}]}


def test_an_enumeration_may_travel_as_its_number(http: httpx.Client, known: Known) -> None:
    fields = {"run_id": known.run_id, "status": 3}
    info = http.post(f"{API}/runs/update", json=fields).json()["run_info"]
    assert info["status"] == "FINISHED"
