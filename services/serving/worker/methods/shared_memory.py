"""The shared memory calls: no region can be registered here, and the answers say so.

Clients clean up before they begin, so to list and to unregister nothing is answered.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar

from google.protobuf.message import Message

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Call, Details, Reply
from services.serving.worker.failure import Code, Failure, not_found
from services.serving.worker.messages import parse

_StatusT = TypeVar(
    "_StatusT", oip.SystemSharedMemoryStatusRequest, oip.CudaSharedMemoryStatusRequest
)


def calls() -> dict[str, Call]:
    """The calls by their names."""
    return {
        "SystemSharedMemoryStatus": _system_status,
        "SystemSharedMemoryRegister": _refuse_system,
        "SystemSharedMemoryUnregister": _nothing(oip.SystemSharedMemoryUnregisterResponse()),
        "CudaSharedMemoryStatus": _cuda_status,
        "CudaSharedMemoryRegister": _refuse_cuda,
        "CudaSharedMemoryUnregister": _nothing(oip.CudaSharedMemoryUnregisterResponse()),
    }


def _nothing(answer: Message) -> Call:
    payload = answer.SerializeToString()

    def done(_: bytes, __: Details) -> Reply:
        return Reply(payload=payload)

    return done


def _system_status(payload: bytes, details: Details) -> Reply:  # noqa: ARG001
    return _status(oip.SystemSharedMemoryStatusRequest, payload, "system")


def _cuda_status(payload: bytes, details: Details) -> Reply:  # noqa: ARG001
    return _status(oip.CudaSharedMemoryStatusRequest, payload, "CUDA")


def _status(kind: type[_StatusT], payload: bytes, memory: str) -> Reply:
    request = parse(kind, payload)
    if request.name:
        raise not_found(f"Unable to find {memory} shared memory region: '{request.name[:200]}'")
    return Reply(payload=b"")


def _refuse_system(payload: bytes, details: Details) -> NoReturn:  # noqa: ARG001
    raise Failure(
        Code.UNIMPLEMENTED, "system shared memory is not supported; send tensors in the request"
    )


def _refuse_cuda(payload: bytes, details: Details) -> NoReturn:  # noqa: ARG001
    raise Failure(
        Code.UNIMPLEMENTED, "CUDA shared memory is not supported; send tensors in the request"
    )
