"""TraceSetting: Triton's traces are not written here, so the only setting is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.messages import parse
from services.serving.worker.table import Serving

_IN_FORCE: Final[Mapping[str, Sequence[str]]] = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_file": [""],
    "trace_mode": ["triton"],
}


class Tracing:
    """Answers what the trace settings are, and refuses others."""

    def __init__(self, *, serving: Serving) -> None:
        self._serving = serving

    def trace_setting(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.TraceSettingRequest, payload)
        if request.model_name:
            self._serving.table.answering(request.model_name, "")
        for name, setting in request.settings.items():
            _check(name, setting.value)
        answer = oip.TraceSettingResponse()
        for name, values in _IN_FORCE.items():
            answer.settings[name].value.extend(values)
        return Reply(payload=answer.SerializeToString())


def _check(name: str, values: Sequence[str]) -> None:
    """Raise Failure unless this is what holds anyway; no values ask for the default."""
    in_force = _IN_FORCE.get(name)
    if in_force is None:
        raise invalid(f"unknown trace setting '{name[:64]}'")
    if values and list(values) != in_force:
        raise Failure(
            Code.UNIMPLEMENTED,
            f"trace setting '{name}' cannot be changed from '{','.join(in_force)}': "
            "this server writes no Triton traces",
        )
