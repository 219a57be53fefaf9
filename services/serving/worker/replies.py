"""Writing a ModelInfer answer: what answers have in common is written once for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.classification import best, shape_of
from services.serving.worker.failure import invalid
from services.serving.worker.model import Model
from services.serving.worker.requests import Plan
from services.serving.worker.tensors import BYTES, decode

_ID: Final = b"\x1a"
_RAW_OUTPUT: Final = b"\x32"
"""Tags of `id` and `raw_output_contents`, both length-delimited."""
_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_Shapes = tuple[tuple[int, ...], ...]
_MOST_FORMS: Final = 128


class Form:
    """Answers of a model version to one plan, in one set of shapes: all but id and data.

    `shapes` are those of all outputs of the model, `logged_shapes` of those that are logged.
    """

    __slots__ = ("_head", "_outputs", "_places", "logged_shapes", "shapes")

    def __init__(self, model: Model, places: Sequence[int], shapes: _Shapes) -> None:
        head = oip.ModelInferResponse(model_name=model.name, model_version=model.version_text)
        self._head = head.SerializeToString() + _ID
        self._outputs = _described(model, places, shapes).SerializeToString()
        self._places = places
        self.shapes = shapes
        self.logged_shapes = [shapes[place] for place in model.logged_outputs]

    def fill(self, request_id: str, raws: Sequence[Sequence[bytes]], number: int) -> bytes:
        """The answer to the request `number` of a run; `raws` are all its outputs' pieces."""
        name = request_id.encode()
        parts = [self._head, _length(len(name)), name, self._outputs]
        for place in self._places:
            raw = raws[place][number]
            parts += (_RAW_OUTPUT, _length(len(raw)), raw)
        return b"".join(parts)


class ClassesForm(Form):
    """The same where some outputs are asked for as their best classes."""

    __slots__ = ("_classes", "_model")

    def __init__(self, model: Model, plan: Plan, shapes: _Shapes) -> None:
        super().__init__(model, plan.places, shapes)
        self._model = model
        self._classes = dict(zip(plan.places, plan.classes, strict=True))
        described = _described(model, plan.places, shapes)
        for output, (place, count) in zip(described.outputs, self._classes.items(), strict=True):
            if count:
                output.datatype = BYTES
                output.shape[:] = shape_of(model.outputs[place], shapes[place], count)
        self._outputs = described.SerializeToString()

    def fill(self, request_id: str, raws: Sequence[Sequence[bytes]], number: int) -> bytes:
        """See Form."""
        own = [pieces[number] for pieces in raws]
        for place, count in self._classes.items():
            if count:
                spec, shape = self._model.outputs[place], self.shapes[place]
                own[place] = best(spec, shape, own[place], count, self._model.labels)
        return super().fill(request_id, [[raw] for raw in own], 0)


class Forms:
    """The forms of one model version that were needed lately."""

    __slots__ = ("_known", "_model")

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[tuple[Plan, _Shapes], Form] = {}

    def of(self, plan: Plan, shapes: _Shapes) -> Form:
        """The form of answers to a plan when the outputs have these shapes."""
        form = self._known.get((plan, shapes))
        if form is None:
            if len(self._known) >= _MOST_FORMS:
                self._known.clear()
            form = self._known[plan, shapes] = self._made(plan, shapes)
        return form

    def _made(self, plan: Plan, shapes: _Shapes) -> Form:
        if plan.classes:
            return ClassesForm(self._model, plan, shapes)
        return Form(self._model, plan.places, shapes)


def check_typed(model: Model, places: Sequence[int]) -> None:
    """Raises Failure when an output has a datatype for which there are no typed contents."""
    for place in places:
        spec = model.outputs[place]
        if spec.datatype not in _FIELDS:
            raise invalid(f"output '{spec.name}' is {spec.datatype}, which has no typed contents")


def typed_reply(payload: bytes) -> bytes:
    """An answer in typed contents instead, which `check_typed` found possible."""
    answer = oip.ModelInferResponse.FromString(payload)
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        values = decode(output.datatype, tuple(output.shape), raw).ravel().tolist()
        if output.datatype == BYTES:
            values = [value.encode() for value in values]
        getattr(output.contents, _FIELDS[output.datatype]).extend(values)
    del answer.raw_output_contents[:]
    return answer.SerializeToString()


def _described(model: Model, places: Sequence[int], shapes: _Shapes) -> oip.ModelInferResponse:
    answer = oip.ModelInferResponse()
    for place in places:
        spec = model.outputs[place]
        answer.outputs.add(name=spec.name, datatype=spec.datatype, shape=shapes[place])
    return answer


def _length(size: int) -> bytes:
    """A protobuf varint."""
    if size < 0x80:
        return _SHORT[size]
    digits = bytearray()
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    digits.append(size)
    return bytes(digits)


_SHORT: Final = tuple(bytes([size]) for size in range(0x80))
