"""Recognising what was checked before: requests that differ in id and data only.

A request's head is parsed without looking into its tensors' descriptions; those are the same bytes
from one request of a client to the next, and stand for a plan that is read once.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from headrace.rpc.inference import open_inference_pb2 as oip
from headrace.rpc.serving.v1.request_head_pb2 import RequestHead
from services.serving.worker.failure import invalid
from services.serving.worker.messages import parse
from services.serving.worker.model import Model
from services.serving.worker.parameters import PLAIN, Options, read_options
from services.serving.worker.requests import Data, Plan, known_data, read_data, read_plan

_MOST_PLANS: Final = 64
_MOST_BYTES: Final = 4096
_Key = tuple[tuple[bytes, ...], tuple[bytes, ...]]


class Plans:
    """The plans of one model version by the bytes that ask for them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[_Key, Plan] = {}

    def get(self, key: _Key) -> Plan | None:
        return self._known.get(key)

    def keep(self, key: _Key, plan: Plan) -> None:
        """Remember it, if it is worth its memory."""
        if sum(map(len, key[0])) + sum(map(len, key[1])) > _MOST_BYTES:
            return
        if len(self._known) >= _MOST_PLANS:
            self._known.clear()
        self._known[key] = plan


def read_head(payload: bytes) -> RequestHead:
    """What can be told without the model. Raises Failure if the bytes are no request."""
    try:
        return RequestHead.FromString(payload)
    except DecodeError as error:
        name = oip.ModelInferRequest.DESCRIPTOR.full_name
        raise invalid(f"the request is not a {name}") from error


def read_body(
    head: RequestHead, payload: bytes, model: Model, plans: Plans, *, max_rows: int, lenient: bool
) -> tuple[Plan, Data, Options]:
    """The rest of the request, for a model. Raises Failure with the protocol's words."""
    key = (tuple(head.inputs), tuple(head.outputs))
    plan = plans.get(key)
    if plan is not None and not head.parameters:
        data = known_data(head.raw_input_contents, plan, model)
        if data is not None:
            return plan, data, PLAIN
    request = parse(oip.ModelInferRequest, payload)
    if plan is None:
        plan = read_plan(request, model, max_rows=max_rows)
    data = read_data(request, plan, model, lenient=lenient)
    if len(head.raw_input_contents) >= len(plan.positions):
        plans.keep(key, plan)
    return plan, data, read_options(request.parameters)
