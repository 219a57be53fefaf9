"""Triton's extensions over HTTP, by an unmodified tritonclient and as they are on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton


@pytest.fixture
def client(rest: str) -> Iterator[triton.InferenceServerClient]:
    connected = triton.InferenceServerClient(rest)
    yield connected
    connected.close()


def test_configuration_has_numbers_where_triton_has_them(
    client: triton.InferenceServerClient,
) -> None:
    config = client.get_model_config("flights")
    assert config["name"] == "flights"
    assert config["max_batch_size"] == 4096
    shown = [(tensor["name"], tensor["data_type"], tensor["dims"]) for tensor in config["input"]]
    assert shown == [("carrier", "TYPE_STRING", [1]), ("distance", "TYPE_FP32", [1])]
    assert client.get_model_config("simple", "2")["name"] == "simple"


def test_configuration_of_an_unknown_model_is_not_found(
    client: triton.InferenceServerClient,
) -> None:
    with pytest.raises(triton.InferenceServerException, match="unknown model: 'nope'") as failed:
        client.get_model_config("nope")
    assert failed.value.status() == "404"


def test_statistics_grow_by_what_was_asked(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("x", [3, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((3, 2), np.float32))
    (before,) = client.get_inference_statistics("wide")["model_stats"]
    client.infer("wide", [tensor])
    (after,) = client.get_inference_statistics("wide", "1")["model_stats"]
    assert (after["name"], after["version"]) == ("wide", "1")
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    success, earlier = after["inference_stats"]["success"], before["inference_stats"]["success"]
    assert success["count"] - earlier["count"] == 1
    assert success["ns"] > earlier["ns"]


def test_statistics_without_a_name_are_those_of_all(client: triton.InferenceServerClient) -> None:
    found = client.get_inference_statistics()["model_stats"]
    names = {(each["name"], each["version"]) for each in found}
    assert {("simple", "2"), ("simple", "3"), ("flights", "1")} <= names


def test_index_is_a_bare_array(client: triton.InferenceServerClient, rest: str) -> None:
    lines = client.get_model_repository_index()
    states = {(line["name"], line["version"]): line["state"] for line in lines}
    assert states["simple", "3"] == "READY"
    assert states["empty", ""] == "UNAVAILABLE"
    ready = httpx.post(f"http://{rest}/v2/repository/index", json={"ready": True}).json()
    assert {line["state"] for line in ready} == {"READY"}


def test_a_model_that_answers_needs_no_load(client: triton.InferenceServerClient) -> None:
    client.load_model("simple")
    assert client.is_model_ready("simple")


def test_events_alone_change_what_is_loaded(client: triton.InferenceServerClient) -> None:
    for change, model in ((client.load_model, "empty"), (client.unload_model, "simple")):
        with pytest.raises(
            triton.InferenceServerException, match="explicit model load / unload is not allowed"
        ) as failed:
            change(model)
        assert failed.value.status() == "503"


def test_log_settings_are_shown_and_changed(client: triton.InferenceServerClient) -> None:
    before: dict[str, Any] = client.get_log_settings()
    assert isinstance(before["log_info"], bool)
    changed = client.update_log_settings({"log_info": not before["log_info"]})
    assert changed["log_info"] is not before["log_info"]
    assert client.update_log_settings({"log_info": before["log_info"]}) == before


def test_trace_settings_are_shown(client: triton.InferenceServerClient) -> None:
    settings = client.get_trace_settings()
    assert settings["trace_level"] == ["OFF"]
    assert client.get_trace_settings("simple")["trace_level"] == ["OFF"]


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_no_region_of_shared_memory_is_registered(rest: str, kind: str) -> None:
    base = f"http://{rest}/v2/{kind}sharedmemory"
    assert httpx.get(f"{base}/status").json() == []
    register: dict[str, Any] = {"key": "/x", "byte_size": 8}
    if kind == "cuda":
        register = {"raw_handle": {"b64": "AAAA"}, "device_id": 0, "byte_size": 8}
    answer = httpx.post(f"{base}/region/r/register", json=register)
    assert answer.status_code == 501
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("repository/index", '{"ready":1}', "field 'ready': expected a boolean, got the number 1"),
        ("repository/models/m/load", '{"parameters":{"a":[]}}', "parameter 'a': expected"),
        (
            "repository/models/m/load",
            '{"parameters":{"file:1/model.onnx":"?"}}',
            "parameter 'file:1/model.onnx': expected base64",
        ),
        ("logging", '{"log_info":[]}', "setting 'log_info': expected"),
        ("trace/setting", '{"trace_rate":{}}', "setting 'trace_rate': expected an array"),
        ("systemsharedmemory/region/r/register", "{}", "field 'key': expected a string, got null"),
    ],
)
def test_a_malformed_change_names_its_field(rest: str, path: str, body: str, message: str) -> None:
    answer = httpx.post(f"http://{rest}/v2/{path}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)
