"""A client that knows nothing of us finds out by reflection, as grpcurl does, and calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace.rpc.reflection import reflection_pb2 as wire

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "inference.model_repository.ModelRepositoryService",
]


@pytest.fixture
def channel(url: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(url) as connected:
        yield connected


def _ask(channel: grpc.Channel, version: str = "v1", **question: Any) -> Any:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=wire.ServerReflectionRequest.SerializeToString,
        response_deserializer=wire.ServerReflectionResponse.FromString,
    )
    (answer,) = call(iter([wire.ServerReflectionRequest(**question)]), timeout=20)
    return answer


def _pool_of(channel: grpc.Channel, symbol: str, version: str = "v1") -> Any:
    """What a client can know after it asked for one symbol."""
    answer = _ask(channel, version, file_containing_symbol=symbol)
    files = [
        FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    pool: Any = DescriptorPool()
    for file in reversed(files):
        pool.Add(file)
    return pool


def _call(channel: grpc.Channel, service: str, method_name: str, request: dict[str, Any]) -> Any:
    method = _pool_of(channel, service).FindServiceByName(service).FindMethodByName(method_name)
    message = json_format.ParseDict(request, GetMessageClass(method.input_type)())
    answer = channel.unary_unary(f"/{service}/{method_name}")(message.SerializeToString())
    return json_format.MessageToDict(GetMessageClass(method.output_type).FromString(answer))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_services_are_listed(channel: grpc.Channel, version: str) -> None:
    answer = _ask(channel, version, list_services="*")
    assert [service.name for service in answer.list_services_response.service] == SERVICES


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("service", SERVICES)
def test_every_service_can_be_read_to_the_last_message(
    channel: grpc.Channel, version: str, service: str
) -> None:
    found = _pool_of(channel, service, version).FindServiceByName(service)
    assert all(GetMessageClass(method.input_type)() is not None for method in found.methods)


def test_method_is_called_from_what_reflection_says_alone(channel: grpc.Channel) -> None:
    answer = _call(
        channel,
        "inference.GRPCInferenceService",
        "ModelInfer",
        {
            "modelName": "wide",
            "id": "7",
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": [1, 2],
                    "contents": {"fp32Contents": [1.5, 2.5]},
                }
            ],
        },
    )
    assert (answer["modelName"], answer["modelVersion"], answer["id"]) == ("wide", "1", "7")
    config = _call(channel, "inference.GRPCInferenceService", "ModelConfig", {"name": "wide"})
    assert config["config"]["input"] == [{"name": "x", "dataType": "TYPE_FP32", "dims": ["-1"]}]


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.ModelInferRequest.InferInputTensor",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInstanceGroup.Kind",
        "inference.DataType",
    ],
)
def test_nested_symbols_are_found_too(channel: grpc.Channel, symbol: str) -> None:
    answer = _ask(channel, file_containing_symbol=symbol)
    assert answer.WhichOneof("message_response") == "file_descriptor_response"
    assert answer.original_request.file_containing_symbol == symbol


def test_files_are_found_by_their_names(channel: grpc.Channel) -> None:
    answer = _ask(channel, file_by_filename="inference/model_config.proto")
    (file,) = answer.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(file).package == "inference"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"file_containing_symbol": "no.Such"}, "symbol not found: 'no.Such'"),
        ({"file_by_filename": "no.proto"}, "file not found: 'no.proto'"),
        ({"all_extension_numbers_of_type": "no.Such"}, "symbol not found: 'no.Such'"),
        (
            {"file_containing_extension": wire.ExtensionRequest(containing_type="x")},
            "no extension is defined here",
        ),
    ],
)
def test_what_is_not_there_is_an_answer_and_not_the_end(
    channel: grpc.Channel, question: dict[str, Any], message: str
) -> None:
    error = _ask(channel, **question).error_response
    assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert error.error_message == message
