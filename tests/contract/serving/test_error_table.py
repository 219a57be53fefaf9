"""The error table of the reference, row by row: status and message, as a real Triton gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from services.serving.worker.fronts import Kind
from tests.harness.data_plane import DataPlane

pb = triton.service_pb2
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
ROW = np.zeros((1, 16), dtype=np.int32).tobytes()


def _request(**changes: Any) -> Any:
    request = pb.ModelInferRequest(model_name="simple", id="7", **changes)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
    request.raw_input_contents.extend([ROW, ROW])
    return request


def _without_input1() -> Any:
    request = _request()
    del request.inputs[1], request.raw_input_contents[1]
    return request


def _with_extra() -> Any:
    request = _request()
    request.inputs.add(name="MORE", datatype="INT32", shape=[1, 16])
    request.raw_input_contents.append(ROW)
    return request


def _with(change: Callable[[Any], object]) -> Callable[[], Any]:
    def make() -> Any:
        request = _request()
        change(request)
        return request

    return make


def _typed(field_name: str, values: list[Any], datatype: str = "INT32") -> Callable[[], Any]:
    def make() -> Any:
        request = _request()
        del request.raw_input_contents[:]
        for tensor in request.inputs:
            getattr(tensor.contents, "int_contents").extend([0] * 16)  # noqa: B009
        del request.inputs[0].contents.int_contents[:]
        getattr(request.inputs[0].contents, field_name).extend(values)
        request.inputs[0].datatype = datatype
        return request

    return make


def _flights(carrier: bytes, rows: int = 1) -> Callable[[], Any]:
    def make() -> Any:
        request = pb.ModelInferRequest(model_name="flights")
        request.inputs.add(name="carrier", datatype="BYTES", shape=[rows, 1])
        request.inputs.add(name="distance", datatype="FP32", shape=[rows, 1])
        request.raw_input_contents.extend([carrier, b"\0\0\0\0" * rows])
        return request

    return make


def _two_rows_in_one_input(request: Any) -> None:
    request.inputs[1].shape[0] = 2
    request.raw_input_contents[1] = ROW * 2


def _too_many_rows(request: Any) -> None:
    for tensor in request.inputs:
        tensor.shape[0] = 4097


@dataclass(frozen=True, kw_only=True)
class Row:
    case: str
    make: Callable[[], Any]
    code: grpc.StatusCode = field(default=INVALID)
    message: str


TABLE = [
    Row(
        case="unknown model",
        make=lambda: pb.ModelInferRequest(model_name="nope"),
        code=NOT_FOUND,
        message="Request for unknown model: 'nope' is not found",
    ),
    Row(
        case="unknown version",
        make=lambda: _request(model_version="99"),
        code=NOT_FOUND,
        message="Request for unknown model: 'simple' version 99 is not found",
    ),
    Row(
        case="version that is no number",
        make=lambda: _request(model_version="abc"),
        message="failed to get model version from specified version string 'abc'",
    ),
    Row(
        case="version zero",
        make=lambda: _request(model_version="0"),
        message="failed to get model version from specified version string '0'",
    ),
    Row(
        case="model without a champion",
        make=lambda: pb.ModelInferRequest(model_name="empty"),
        code=NOT_FOUND,
        message="Request for unknown model: 'empty' has no available versions",
    ),
    Row(
        case="missing input",
        make=_without_input1,
        message="[request id: 7] expected 2 inputs but got 1 inputs for model 'simple'. "
        "Got input(s) ['INPUT0'], but missing required input(s) ['INPUT1']",
    ),
    Row(
        case="no input",
        make=lambda: pb.ModelInferRequest(model_name="simple"),
        message="[request id: <id_unknown>] expected 2 inputs but got 0 inputs for model "
        "'simple'. Got input(s) [], but missing required input(s) ['INPUT0','INPUT1']",
    ),
    Row(
        case="extra input",
        make=_with_extra,
        message="[request id: 7] expected 2 inputs but got 3 inputs for model 'simple'. "
        "Got input(s) ['INPUT0','INPUT1','MORE'], but missing required input(s) []",
    ),
    Row(
        case="input of another name",
        make=_with(lambda r: setattr(r.inputs[1], "name", "OTHER")),
        message="unexpected inference input 'OTHER' for model 'simple'",
    ),
    Row(
        case="duplicate input",
        make=_with(lambda r: setattr(r.inputs[1], "name", "INPUT0")),
        message="input 'INPUT0' already exists in request",
    ),
    Row(
        case="wrong dtype",
        make=_with(lambda r: setattr(r.inputs[0], "datatype", "FP32")),
        message="inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
    ),
    Row(
        case="wrong shape",
        make=_with(lambda r: r.inputs[1].shape.__setitem__(1, 15)),
        message="unexpected shape for input 'INPUT1' for model 'simple'. "
        "Expected [-1,16], got [1,15].",
    ),
    Row(
        case="wrong rank",
        make=_with(lambda r: r.inputs[0].shape.append(1)),
        message="unexpected shape for input 'INPUT0' for model 'simple'. "
        "Expected [-1,16], got [1,16,1].",
    ),
    Row(
        case="no rows",
        make=_with(lambda r: r.inputs[0].shape.__setitem__(0, 0)),
        message="unexpected shape for input 'INPUT0' for model 'simple'. "
        "Expected [-1,16], got [0,16].",
    ),
    Row(
        case="negative dimension",
        make=_with(lambda r: r.inputs[0].shape.__setitem__(0, -1)),
        message="unexpected shape for input 'INPUT0' for model 'simple'. "
        "Expected [-1,16], got [-1,16].",
    ),
    Row(
        case="too many rows",
        make=_with(_too_many_rows),
        message="inference request batch-size must be <= 4096 for 'simple'",
    ),
    Row(
        case="unequal batch",
        make=_with(_two_rows_in_one_input),
        message="input 'INPUT1' batch size does not match other inputs",
    ),
    Row(
        case="unknown output",
        make=_with(lambda r: r.outputs.add(name="NOPE")),
        message="unexpected inference output 'NOPE' for model 'simple'",
    ),
    Row(
        case="output twice",
        make=_with(lambda r: [r.outputs.add(name="OUTPUT0") for _ in range(2)]),
        message="output 'OUTPUT0' already requested",
    ),
    Row(
        case="raw too short",
        make=_with(lambda r: r.raw_input_contents.__setitem__(0, ROW[:60])),
        message="input byte size mismatch for input 'INPUT0' for model 'simple'. "
        "Expected 64, got 60",
    ),
    Row(
        case="raw too long",
        make=_with(lambda r: r.raw_input_contents.__setitem__(1, ROW + b"\0")),
        message="input byte size mismatch for input 'INPUT1' for model 'simple'. "
        "Expected 64, got 65",
    ),
    Row(
        case="raw entry missing",
        make=_with(lambda r: r.raw_input_contents.pop()),
        message="unable to find data for input tensor 'INPUT1' for model 'simple' in request.",
    ),
    Row(
        case="no data at all",
        make=_with(lambda r: r.ClearField("raw_input_contents")),
        message="unable to find data for input tensor 'INPUT0' for model 'simple' in request.",
    ),
    Row(
        case="too many raw entries",
        make=_with(lambda r: r.raw_input_contents.append(ROW)),
        message="expected 2 raw_input_contents entries but got 3 for model 'simple'",
    ),
    Row(
        case="contents and raw",
        make=_with(lambda r: r.inputs[0].contents.int_contents.extend([0] * 16)),
        message="contents field must not be specified when using raw_input_contents for "
        "'INPUT0' for model 'simple'",
    ),
    Row(
        case="typed field of another dtype",
        make=_typed("fp32_contents", [0.0] * 16),
        message="unexpected explicit tensor data for input tensor 'INPUT0' for model 'simple' "
        "of type 'FP32', expected datatype 'INT32'",
    ),
    Row(
        case="too few typed values",
        make=_typed("int_contents", [0] * 15),
        message="input byte size mismatch for input 'INPUT0' for model 'simple'. "
        "Expected 64, got 60",
    ),
    Row(
        case="bytes that are not UTF-8",
        make=_flights(b"\x01\0\0\0\xff"),
        message="element 0 is not UTF-8 (invalid start byte) for inference input 'carrier' "
        "for model 'flights'",
    ),
    Row(
        case="string length cut off",
        make=_flights(b"\x01\0\0"),
        message="incomplete string length indicator, expecting 4 bytes but only 3 bytes "
        "available for inference input 'carrier' for model 'flights'",
    ),
    Row(
        case="string cut off",
        make=_flights(b"\x05\0\0\0abc"),
        message="incomplete string data, expecting string of length 5 but only 3 bytes "
        "available for inference input 'carrier' for model 'flights'",
    ),
    Row(
        case="too few strings",
        make=_flights(b"\x01\0\0\0a", rows=2),
        message="unexpected number of string elements, expecting 2, got 1 "
        "for inference input 'carrier' for model 'flights'",
    ),
    Row(
        case="too many strings",
        make=_flights(b"\x01\0\0\0a\x01\0\0\0b"),
        message="unexpected number of string elements, expecting 1, got more than 1 "
        "for inference input 'carrier' for model 'flights'",
    ),
    Row(
        case="event time that is no integer",
        make=_with(lambda r: setattr(r.parameters["event_time_us"], "string_param", "now")),
        message="parameter 'event_time_us' must be an int64 of microseconds since the epoch, "
        "got string_param",
    ),
    Row(
        case="shared memory",
        make=_with(
            lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "x")
        ),
        code=grpc.StatusCode.UNIMPLEMENTED,
        message="input 'INPUT0': parameter 'shared_memory_region' is not supported",
    ),
    Row(
        case="no classes",
        make=_with(
            lambda r: setattr(
                r.outputs.add(name="OUTPUT0").parameters["classification"], "int64_param", 0
            )
        ),
        message="invalid value for 'classification' parameter, expected >= 0",
    ),
    Row(
        case="classes that are no number",
        make=_with(
            lambda r: setattr(
                r.outputs.add(name="OUTPUT0").parameters["classification"], "string_param", "3"
            )
        ),
        message="invalid value type for 'classification' parameter, expected int64_param",
    ),
    Row(
        case="overlong id",
        make=_with(lambda r: setattr(r, "id", "x" * 201)),
        message="request id is longer than 200 characters",
    ),
    Row(
        case="id with a NUL",
        make=_with(lambda r: setattr(r, "id", "a\0b")),
        message="request id has control characters",
    ),
    Row(
        case="event time after the year 9999",
        make=_with(lambda r: setattr(r.parameters["event_time_us"], "int64_param", 2**60)),
        message="parameter 'event_time_us' must be microseconds since the epoch, "
        "0 to 253402300799999999, got 1152921504606846976",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.case)
def test_bad_request_gets_the_status_and_message_of_the_table(url: str, row: Row) -> None:
    with grpc.insecure_channel(url) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            stub.ModelInfer(row.make())
    assert failed.value.code() is row.code
    assert failed.value.details().startswith(row.message)


@pytest.mark.parametrize("rpc", ["infer", "get_model_metadata", "get_model_config"])
@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("nope", "", "Request for unknown model: 'nope' is not found"),
        ("simple", "99", "Request for unknown model: 'simple' version 99 is not found"),
    ],
)
def test_unknown_model_reads_alike_in_every_call(
    client: triton.InferenceServerClient, rpc: str, name: str, version: str, message: str
) -> None:
    arguments: dict[str, Any] = {"inputs": []} if rpc == "infer" else {}
    with pytest.raises(triton.InferenceServerException, match=re.escape(message)) as failed:
        getattr(client, rpc)(model_name=name, model_version=version, **arguments)
    assert failed.value.status() == "StatusCode.NOT_FOUND"


def test_ready_of_a_malformed_version_is_an_error(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException, match="specified version string 'x'"):
        client.is_model_ready("simple", "x")


def test_bytes_that_are_no_request_are_refused(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"\xff\xff\xff")
    assert failed.value.code() is INVALID
    assert failed.value.details() == "the request is not a inference.ModelInferRequest"


def test_message_beyond_the_bound_is_refused(plane: DataPlane, kind: Kind) -> None:
    with (
        plane.listening(kind, max_message_bytes=2**20) as small,
        grpc.insecure_channel(f"127.0.0.1:{small.port}") as channel,
    ):
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"\0" * (2**20 + 1))
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_method_that_is_not_served_is_unimplemented(url: str) -> None:
    with grpc.insecure_channel(url) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelDream")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_refused_requests_are_counted_and_not_logged(
    plane: DataPlane, client: triton.InferenceServerClient
) -> None:
    plane.log.take()
    name = "inference_failures_total"
    labels = {"model": "simple", "version": "3", "code": "INVALID_ARGUMENT"}
    before = plane.metrics.registry.get_sample_value(name, labels) or 0
    with pytest.raises(triton.InferenceServerException):
        client.infer("simple", [])
    assert plane.metrics.registry.get_sample_value(name, labels) == before + 1
    assert plane.log.take() == []


REGISTER = pb.SystemSharedMemoryRegisterRequest(name="r", key="/r", byte_size=8)
INDEX = pb.RepositoryIndexRequest(repository_name="r")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
POLLING = "explicit model load / unload is not allowed if polling is enabled"


def _load(model: str, repository: str = "", **parameters: Any) -> Any:
    request = pb.RepositoryModelLoadRequest(repository_name=repository, model_name=model)
    for name, value in parameters.items():
        key = "file:1/model.onnx" if name == "file" else name
        kind = {str: "string_param", bytes: "bytes_param", bool: "bool_param"}[type(value)]
        setattr(request.parameters[key], kind, value)
    return request


def _unload(model: str, **parameters: str | bool) -> Any:
    request = pb.RepositoryModelUnloadRequest(model_name=model)
    for name, value in parameters.items():
        kind = "bool_param" if isinstance(value, bool) else "string_param"
        setattr(request.parameters[name], kind, value)
    return request


def _trace(model: str = "", **settings: str) -> Any:
    request = pb.TraceSettingRequest(model_name=model)
    for name, value in settings.items():
        request.settings[name].value.append(value)
    return request


def _log(name: str, **value: Any) -> Any:
    request = pb.LogSettingsRequest()
    ((kind, given),) = value.items()
    setattr(request.settings[name], kind, given)
    return request


OTHER_CALLS = [
    (
        "ModelMetadata",
        pb.ModelMetadataRequest(name="simple", version="x"),
        INVALID,
        "failed to get model version from specified version string 'x'",
    ),
    (
        "ModelMetadata",
        pb.ModelMetadataRequest(name="empty"),
        NOT_FOUND,
        "Request for unknown model: 'empty' has no available versions",
    ),
    (
        "ModelConfig",
        pb.ModelConfigRequest(name="nope"),
        NOT_FOUND,
        "Request for unknown model: 'nope' is not found",
    ),
    (
        "ModelConfig",
        pb.ModelConfigRequest(name="simple", version="99"),
        NOT_FOUND,
        "Request for unknown model: 'simple' version 99 is not found",
    ),
    (
        "ModelConfig",
        pb.ModelConfigRequest(name="simple", version="x"),
        INVALID,
        "failed to get model version from specified version string 'x'",
    ),
    (
        "ModelConfig",
        pb.ModelConfigRequest(name="empty"),
        NOT_FOUND,
        "Request for unknown model: 'empty' has no available versions",
    ),
    (
        "ModelStatistics",
        pb.ModelStatisticsRequest(name="nope"),
        INVALID,
        "requested model 'nope' is not available",
    ),
    (
        "ModelStatistics",
        pb.ModelStatisticsRequest(name="empty"),
        INVALID,
        "requested model 'empty' is not available",
    ),
    (
        "ModelStatistics",
        pb.ModelStatisticsRequest(name="simple", version="99"),
        INVALID,
        "requested model version is not available for model 'simple'",
    ),
    (
        "ModelStatistics",
        pb.ModelStatisticsRequest(name="simple", version="x"),
        INVALID,
        "failed to get model version from specified version string 'x'",
    ),
    ("RepositoryIndex", INDEX, UNIMPLEMENTED, "'repository_name' specification is not supported"),
    ("RepositoryModelLoad", _load("nope"), UNAVAILABLE, POLLING),
    ("RepositoryModelLoad", _load(""), INVALID, "the name of the model is missing"),
    (
        "RepositoryModelLoad",
        _load("simple", "r"),
        UNIMPLEMENTED,
        "'repository_name' specification is not supported",
    ),
    (
        "RepositoryModelLoad",
        _load("simple", config="{}"),
        UNIMPLEMENTED,
        "models are loaded as they were registered",
    ),
    (
        "RepositoryModelLoad",
        _load("simple", config=True),
        INVALID,
        "parameter 'config' expects a string_param, got bool_param",
    ),
    (
        "RepositoryModelLoad",
        _load("simple", file=b"x"),
        INVALID,
        "load parameter 'file:1/model.onnx' needs the parameter 'config'",
    ),
    (
        "RepositoryModelLoad",
        _load("simple", file="x", config="{}"),
        INVALID,
        "parameter 'file:1/model.onnx' expects a bytes_param, got string_param",
    ),
    (
        "RepositoryModelLoad",
        _load("simple", more="x"),
        INVALID,
        "unrecognized load parameter 'more'",
    ),
    ("RepositoryModelUnload", _unload("simple"), UNAVAILABLE, POLLING),
    ("RepositoryModelUnload", _unload("simple", unload_dependents=True), UNAVAILABLE, POLLING),
    (
        "RepositoryModelUnload",
        _unload("simple", unload_dependents="x"),
        INVALID,
        "parameter 'unload_dependents' expects a bool_param, got string_param",
    ),
    (
        "RepositoryModelUnload",
        _unload("simple", more="x"),
        INVALID,
        "unrecognized unload parameter 'more'",
    ),
    (
        "SystemSharedMemoryRegister",
        REGISTER,
        UNIMPLEMENTED,
        "system shared memory is not supported",
    ),
    (
        "SystemSharedMemoryStatus",
        pb.SystemSharedMemoryStatusRequest(name="r"),
        NOT_FOUND,
        "Unable to find system shared memory region: 'r'",
    ),
    (
        "CudaSharedMemoryRegister",
        pb.CudaSharedMemoryRegisterRequest(name="r"),
        UNIMPLEMENTED,
        "CUDA shared memory is not supported",
    ),
    (
        "CudaSharedMemoryStatus",
        pb.CudaSharedMemoryStatusRequest(name="r"),
        NOT_FOUND,
        "Unable to find CUDA shared memory region: 'r'",
    ),
    ("TraceSetting", _trace("nope"), NOT_FOUND, "Request for unknown model: 'nope' is not found"),
    (
        "TraceSetting",
        _trace(trace_level="TIMESTAMPS"),
        UNIMPLEMENTED,
        "trace setting 'trace_level' cannot be changed from 'OFF'",
    ),
    ("TraceSetting", _trace(dream="x"), INVALID, "unknown trace setting 'dream'"),
    ("LogSettings", _log("dream", bool_param=True), INVALID, "unknown log setting 'dream'"),
    (
        "LogSettings",
        _log("log_info", string_param="x"),
        INVALID,
        "log setting 'log_info' expects a bool_param, got string_param",
    ),
    (
        "LogSettings",
        _log("log_verbose_level", uint32_param=2),
        UNIMPLEMENTED,
        "log setting 'log_verbose_level' cannot be changed from '0'",
    ),
    (
        "LogSettings",
        _log("log_file", string_param="worker.log"),
        UNIMPLEMENTED,
        "log setting 'log_file' cannot be changed from ''",
    ),
]


def _case(row: Any) -> str:
    method, request, _, _ = row
    return f"{method} {str(request).replace(chr(10), ' ')}"


@pytest.mark.parametrize("row", OTHER_CALLS, ids=_case)
def test_other_calls_fail_with_the_status_and_message_of_the_table(url: str, row: Any) -> None:
    method, request, code, message = row
    with grpc.insecure_channel(url) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            getattr(stub, method)(request)
    assert failed.value.code() is code
    assert failed.value.details().startswith(message)


UNARY = sorted(
    method.name
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    if method.input_type.fields
    and not method.client_streaming
    and method.name not in ("SystemSharedMemoryUnregister", "CudaSharedMemoryUnregister")
    and not method.name.endswith("Register")
)


@pytest.mark.parametrize("method", UNARY)
def test_bytes_that_are_no_message_are_refused_by_every_call(url: str, method: str) -> None:
    with grpc.insecure_channel(url) as channel:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"\xff\xff\xff")
    assert failed.value.code() is INVALID
    assert failed.value.details().startswith("the request is not a inference.")
