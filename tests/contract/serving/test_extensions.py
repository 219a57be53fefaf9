"""What Triton's, KServe's and MLServer's clients call beside inference, sync and asyncio."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from headrace.rpc.inference import model_repository_pb2 as mlserver
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.methods.logs import LogSwitches
from tests.harness import onnx_models
from tests.harness.data_plane import data_plane

SERVICE = "/inference.GRPCInferenceService"
MLSERVER = "/inference.model_repository.ModelRepositoryService"
POLLING = "explicit model load / unload is not allowed if polling is enabled"


async def _result(client: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """What a call of the client returns, whether the client is asyncio's or not."""
    returned = getattr(client, method)(*arguments, **options)
    return await returned if inspect.isawaitable(returned) else returned


@pytest.fixture(params=[triton, triton_aio], ids=["sync", "asyncio"])
def make_client(request: pytest.FixtureRequest, url: str) -> Any:
    return lambda: request.param.InferenceServerClient(url)


@pytest.fixture
async def any_client(make_client: Any) -> Any:
    """The client in both manners."""
    client = make_client()
    yield client
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed


async def test_configuration_has_the_batch_dimension_in_max_batch_size(any_client: Any) -> None:
    answer = await _result(any_client, "get_model_config", "flights", as_json=True)
    config = answer["config"]
    assert config["name"] == "flights"
    assert (config["platform"], config["backend"]) == ("onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] == 4096
    assert config["input"] == [
        {"name": "carrier", "data_type": "TYPE_STRING", "dims": ["1"]},
        {"name": "distance", "data_type": "TYPE_FP32", "dims": ["1"]},
    ]
    assert [output["name"] for output in config["output"]] == ["score", "echo"]
    assert config["instance_group"] == [{"name": "flights", "kind": "KIND_CPU", "count": 1}]
    assert config["model_transaction_policy"] == {}
    simple = await _result(any_client, "get_model_config", "simple", "2")
    assert list(simple.config.version_policy.specific.versions) == [2, 3]


async def test_configuration_and_metadata_tell_of_the_same_tensors(any_client: Any) -> None:
    """As perf_analyzer reads them: a batch dimension, then the dimensions of a row."""
    config = (await _result(any_client, "get_model_config", "types")).config
    metadata = await _result(any_client, "get_model_metadata", "types")
    for described, tensor in zip(config.input, metadata.inputs, strict=True):
        assert described.name == tensor.name
        assert [-1, *described.dims] == list(tensor.shape)
        name = triton.model_config_pb2.DataType.Name(described.data_type)
        assert name.removeprefix("TYPE_").replace("STRING", "BYTES") == tensor.datatype


async def test_statistics_grow_by_what_was_asked(any_client: Any) -> None:
    tensor = triton.InferInput("x", [3, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((3, 2), np.float32))
    bad = triton.InferInput("x", [3, 2], "INT32")
    bad.set_data_from_numpy(np.zeros((3, 2), np.int32))
    (before,) = (await _result(any_client, "get_inference_statistics", "wide")).model_stats
    await _result(any_client, "infer", "wide", [tensor])
    with pytest.raises(triton.InferenceServerException):
        await _result(any_client, "infer", "wide", [bad])
    (after,) = (await _result(any_client, "get_inference_statistics", "wide", "1")).model_stats
    assert (after.name, after.version) == ("wide", "1")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    stats, old = after.inference_stats, before.inference_stats
    assert stats.success.count - old.success.count == 1
    assert stats.fail.count - old.fail.count == 1
    assert stats.compute_infer.ns > old.compute_infer.ns
    assert after.last_inference >= before.last_inference
    batch = next(each for each in after.batch_stats if each.batch_size == 3)
    assert batch.compute_infer.count >= 1


async def test_statistics_without_a_name_are_those_of_all_that_is_served(any_client: Any) -> None:
    answer = await _result(any_client, "get_inference_statistics")
    served = [(each.name, each.version) for each in answer.model_stats]
    assert served == [
        ("flights", "1"),
        ("simple", "2"),
        ("simple", "3"),
        ("types", "1"),
        ("wide", "1"),
    ]
    both = await _result(any_client, "get_inference_statistics", "simple")
    assert [each.version for each in both.model_stats] == ["2", "3"]


async def test_index_shows_what_answers_and_why_the_rest_does_not(any_client: Any) -> None:
    index = await _result(any_client, "get_model_repository_index")
    lines = [(line.name, line.version, line.state, line.reason) for line in index.models]
    assert lines == [
        ("empty", "", "UNAVAILABLE", "no version is promoted"),
        ("flights", "1", "READY", ""),
        ("simple", "2", "READY", ""),
        ("simple", "3", "READY", ""),
        ("types", "1", "READY", ""),
        ("wide", "1", "READY", ""),
    ]


async def test_loading_what_answers_is_done_already(any_client: Any) -> None:
    assert await _result(any_client, "load_model", "simple") is None
    assert await _result(any_client, "is_model_ready", "simple")


@pytest.mark.parametrize(
    ("method", "model"), [("load_model", "nope"), ("load_model", "empty"), ("unload_model", "wide")]
)
async def test_events_alone_say_what_is_loaded(any_client: Any, method: str, model: str) -> None:
    with pytest.raises(triton.InferenceServerException, match=POLLING) as failed:
        await _result(any_client, method, model)
    assert failed.value.status() == "StatusCode.UNAVAILABLE"
    assert await _result(any_client, "is_model_ready", "wide")


async def test_clean_up_of_shared_memory_finds_nothing_and_is_fine(any_client: Any) -> None:
    for memory in ("system", "cuda"):
        await _result(any_client, f"unregister_{memory}_shared_memory")
        status = await _result(any_client, f"get_{memory}_shared_memory_status", as_json=True)
        assert status == {}


async def test_shared_memory_cannot_be_registered(any_client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="not supported") as failed:
        await _result(any_client, "register_system_shared_memory", "r", "/r", 64)
    assert failed.value.status() == "StatusCode.UNIMPLEMENTED"
    with pytest.raises(triton.InferenceServerException, match="not supported"):
        await _result(any_client, "register_cuda_shared_memory", "r", b"", 0, 64)


async def test_traces_are_off_and_may_be_asked_to_be(any_client: Any) -> None:
    wanted = {"trace_level": "OFF", "trace_rate": None}
    answer = await _result(any_client, "update_trace_settings", "simple", wanted, as_json=True)
    assert answer["settings"]["trace_level"] == {"value": ["OFF"]}
    read = await _result(any_client, "get_trace_settings", as_json=True)
    assert read == answer


async def test_log_lines_are_switched_off_and_on(any_client: Any) -> None:
    off = await _result(any_client, "update_log_settings", {"log_info": False}, as_json=True)
    assert off["settings"]["log_info"] == {"bool_param": False}
    assert off["settings"]["log_error"] == {"bool_param": True}
    assert await _result(any_client, "get_log_settings", as_json=True) == off
    on = await _result(any_client, "update_log_settings", {"log_info": True}, as_json=True)
    assert on["settings"]["log_info"] == {"bool_param": True}


async def test_settings_that_fail_change_nothing(any_client: Any) -> None:
    before = await _result(any_client, "get_log_settings", as_json=True)
    with pytest.raises(triton.InferenceServerException, match="unknown log setting 'dream'"):
        await _result(any_client, "update_log_settings", {"log_info": False, "dream": True})
    assert await _result(any_client, "get_log_settings", as_json=True) == before


@pytest.mark.parametrize(
    ("switch", "level"),
    [("log_info", logging.INFO), ("log_warning", logging.WARNING), ("log_error", logging.ERROR)],
)
def test_each_switch_holds_back_its_own_lines(switch: str, level: int) -> None:
    switches = LogSwitches()
    switches.on[switch] = False
    levels = (logging.INFO, logging.WARNING, logging.ERROR)
    lines = [logging.LogRecord("x", each, "f", 1, "m", (), None) for each in levels]
    assert [line.levelno for line in lines if not switches.filter(line)] == [level]


def test_kserve_names_the_model_in_the_first_field_and_reads_what_came_of_it(url: str) -> None:
    request = oip.RepositoryModelLoadRequest(repository_name="simple")  # KServe's model_name
    with grpc.insecure_channel(url) as channel:
        call = channel.unary_unary(f"{SERVICE}/RepositoryModelLoad")
        answer = oip.RepositoryModelLoadResponse.FromString(call(request.SerializeToString()))
        assert (answer.model_name, answer.isLoaded) == ("simple", True)
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(f"{SERVICE}/RepositoryModelUnload")(request.SerializeToString())
    assert failed.value.details() == POLLING


def test_mlserver_clients_find_their_repository_service(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        index = channel.unary_unary(
            f"{MLSERVER}/RepositoryIndex",
            request_serializer=mlserver.RepositoryIndexRequest.SerializeToString,
            response_deserializer=mlserver.RepositoryIndexResponse.FromString,
        )
        ready = index(mlserver.RepositoryIndexRequest(ready=True))
        assert {line.name for line in ready.models} == {"flights", "simple", "types", "wide"}
        assert {line.state for line in ready.models} == {"READY"}
        load = channel.unary_unary(
            f"{MLSERVER}/RepositoryModelLoad",
            request_serializer=mlserver.RepositoryModelLoadRequest.SerializeToString,
            response_deserializer=mlserver.RepositoryModelLoadResponse.FromString,
        )
        assert load(mlserver.RepositoryModelLoadRequest(model_name="simple")) is not None


def test_output_without_rows_leaves_the_model_without_a_batch_dimension(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"total": plane.load("total", 1, onnx_models.total())})
    with (
        plane.listening("native") as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as client,
    ):
        config = client.get_model_config("total").config
    assert config.max_batch_size == 0
    assert [list(config.input[0].dims), list(config.output[0].dims)] == [[-1, 4], [1]]
