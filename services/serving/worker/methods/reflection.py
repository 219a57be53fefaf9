"""Server reflection: clients without our definitions read them from the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from headrace.rpc.reflection import reflection_pb2 as wire
from services.serving.worker.calls import Stream
from services.serving.worker.failure import Code, Failure, not_found
from services.serving.worker.messages import parse

V1: Final = "grpc.reflection.v1"
V1_ALPHA: Final = "grpc.reflection.v1alpha"


class Reflection:
    """Knows the services of this server, and the files that define them."""

    def __init__(self, *, services: Iterable[str], files: Iterable[FileDescriptor]) -> None:
        """`files` are those that clients may ask for, each after the ones that it needs."""
        self._services = sorted(services)
        self._files: dict[str, FileDescriptorProto] = {}
        for file in (*files, wire.DESCRIPTOR):
            proto = FileDescriptorProto.FromString(file.serialized_pb)
            self._files[proto.name] = proto
        alpha = _alpha_of(self._files[wire.DESCRIPTOR.name])
        self._files[alpha.name] = alpha
        self._defined_in = {
            symbol: name for name, proto in self._files.items() for symbol in _symbols(proto)
        }

    def run(self, stream: Stream) -> Iterator[bytes]:
        """One answer a question."""
        for payload in stream.requests:
            request = parse(wire.ServerReflectionRequest, payload)
            try:
                answer = self._answer(request)
            except Failure as failure:
                error = wire.ErrorResponse(error_code=failure.code, error_message=failure.message)
                answer = wire.ServerReflectionResponse(error_response=error)
            answer.valid_host = request.host
            answer.original_request.CopyFrom(request)
            yield answer.SerializeToString()

    def _answer(self, request: wire.ServerReflectionRequest) -> wire.ServerReflectionResponse:
        answer = wire.ServerReflectionResponse()
        match request.WhichOneof("message_request"):
            case "list_services":
                for service in self._services:
                    answer.list_services_response.service.add(name=service)
            case "file_by_filename":
                self._add_file(answer, request.file_by_filename)
            case "file_containing_symbol":
                self._add_file(answer, self._file_of(request.file_containing_symbol))
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                self._file_of(name)
                answer.all_extension_numbers_response.base_type_name = name
            case "file_containing_extension":
                raise not_found("no extension is defined here")
            case _:
                raise Failure(Code.INVALID_ARGUMENT, "the question is missing")
        return answer

    def _file_of(self, symbol: str) -> str:
        name = self._defined_in.get(symbol)
        if name is None:
            raise not_found(f"symbol not found: '{symbol[:200]}'")
        return name

    def _add_file(self, answer: wire.ServerReflectionResponse, name: str) -> None:
        if name not in self._files:
            raise not_found(f"file not found: '{name[:200]}'")
        needed: dict[str, None] = {}
        self._collect(name, needed)
        answer.file_descriptor_response.file_descriptor_proto.extend(
            self._files[each].SerializeToString() for each in needed
        )

    def _collect(self, name: str, needed: dict[str, None]) -> None:
        """The file, then what it needs."""
        needed[name] = None
        for dependency in self._files[name].dependency:
            if dependency not in needed:
                self._collect(dependency, needed)


def _alpha_of(proto: FileDescriptorProto) -> FileDescriptorProto:
    """The older version of reflection: the same, in another package."""
    alpha = FileDescriptorProto()
    alpha.CopyFrom(proto)
    alpha.name = proto.name.replace("reflection.proto", "reflection_v1alpha.proto")
    alpha.package = V1_ALPHA
    for message in alpha.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{V1}.", f".{V1_ALPHA}.")
    for service in alpha.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{V1}.", f".{V1_ALPHA}.")
            method.output_type = method.output_type.replace(f".{V1}.", f".{V1_ALPHA}.")
    return alpha


def _symbols(proto: FileDescriptorProto) -> Iterator[str]:
    """Full names of everything that a file defines and clients ask for."""
    for message in proto.message_type:
        yield from _in_message(proto.package, message)
    for enum in proto.enum_type:
        yield f"{proto.package}.{enum.name}"
    for service in proto.service:
        yield f"{proto.package}.{service.name}"
        for method in service.method:
            yield f"{proto.package}.{service.name}.{method.name}"


def _in_message(scope: str, message: DescriptorProto) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield name
    for enum in message.enum_type:
        yield f"{name}.{enum.name}"
    for nested in message.nested_type:
        yield from _in_message(name, nested)
