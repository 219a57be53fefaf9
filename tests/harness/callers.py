"""Callers that take answers whenever they come."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Sequence

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import NOTHING_BESIDE, Arrival, Details, Reply
from services.serving.worker.failure import Failure


class Answers:
    """Answers by the numbers of their calls, in the order in which they came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.by_call: dict[int, Reply | Failure] = {}

    def respond(self, call: int, reply: Reply) -> None:
        self._keep(call, reply)

    def fail(self, call: int, failure: Failure) -> None:
        self._keep(call, failure)

    def _keep(self, call: int, answer: Reply | Failure) -> None:
        with self._changed:
            assert call not in self.by_call, "answered twice"
            self.by_call[call] = answer
            self._changed.notify_all()

    def arrival(self, call: int, payload: bytes, details: Details = NOTHING_BESIDE) -> Arrival:
        """A call that has just arrived."""
        return Arrival(payload, details, arrived_ns=time.monotonic_ns(), caller=self, call=call)

    def wait(self, count: int) -> dict[int, Reply | Failure]:
        """Wait, bounded, until so many are there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.by_call) >= count, 20)
        return self.by_call


def one_row(
    model: str,
    values: Sequence[float],
    *,
    name: str = "x",
    request_id: str = "",
    priority: int = 0,
    timeout_us: int = 0,
) -> bytes:
    """A request with one FP32 row."""
    data = struct.pack(f"<{len(values)}f", *values)
    request = oip.ModelInferRequest(model_name=model, id=request_id, raw_input_contents=[data])
    request.inputs.add(name=name, datatype="FP32", shape=[1, len(values)])
    if priority:
        request.parameters["priority"].uint64_param = priority
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    return request.SerializeToString()
