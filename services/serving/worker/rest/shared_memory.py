"""Shared memory regions, of the system and of CUDA devices."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from services.serving.documents.json_body import object_of, parse_object, size_of, text_of
from services.serving.worker.failure import invalid
from services.serving.worker.rest.asked import Asked, Function
from services.serving.worker.rest.documents import document_of
from services.serving.worker.rest.http import Answer, json_answer


def status(family: str) -> Function:
    """Of one region, or of all where the path names none: a bare array, as Triton answers."""

    def answer(asked: Asked) -> Answer:
        method = f"{family}SharedMemoryStatus"
        found = document_of(_asked_by_name(asked, method))
        regions = object_of(found["regions"], "field 'regions'")
        return json_answer(list(regions.values()))

    return answer


def unregister(family: str) -> Function:
    """Of one region, or of all where the path names none."""

    def answer(asked: Asked) -> Answer:
        _asked_by_name(asked, f"{family}SharedMemoryUnregister")
        return json_answer({})

    return answer


def register_system(asked: Asked) -> Answer:
    """A region of the machine's shared memory, by its key."""
    request: Any = asked.calls.message("SystemSharedMemoryRegister")
    given = parse_object(asked.request.body)
    request.name = asked.names["region"]
    request.key = text_of(given.get("key"), "field 'key'")
    request.offset = size_of(given.get("offset", 0), "field 'offset'")
    request.byte_size = size_of(given.get("byte_size"), "field 'byte_size'")
    asked.calls.ask("SystemSharedMemoryRegister", request, asked.details)
    return json_answer({})


def register_cuda(asked: Asked) -> Answer:
    """A region of a device's memory, by its handle."""
    request: Any = asked.calls.message("CudaSharedMemoryRegister")
    given = parse_object(asked.request.body)
    handle = object_of(given.get("raw_handle"), "field 'raw_handle'")
    request.name = asked.names["region"]
    request.raw_handle = _decoded(text_of(handle.get("b64"), "field 'raw_handle.b64'"))
    request.device_id = size_of(given.get("device_id"), "field 'device_id'")
    request.byte_size = size_of(given.get("byte_size"), "field 'byte_size'")
    asked.calls.ask("CudaSharedMemoryRegister", request, asked.details)
    return json_answer({})


def _asked_by_name(asked: Asked, method: str) -> Any:
    request: Any = asked.calls.message(method)
    request.name = asked.names.get("region", "")
    return asked.calls.ask(method, request, asked.details)


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"field 'raw_handle.b64': expected base64, {error}") from error
