"""A body that is the one tensor of a model with one input, and nothing else.

Inference-Header-Content-Length is 0 then. The metadata of the model tells name and datatype, and
the length of the body the one free dimension; where rows and one more dimension are free it is one
row. A BYTES input takes the body as its one element.
"""

from __future__ import annotations

from math import prod

from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest, ModelMetadataResponse
from services.serving.worker.failure import Failure, invalid
from services.serving.worker.tensors import BYTES, DTYPES, encode_strings

_Tensor = ModelMetadataResponse.TensorMetadata
_ONE = 1


def read_raw(body: bytes, metadata: ModelMetadataResponse, version: str) -> ModelInferRequest:
    """The request. Raises Failure when the model does not tell all that is left out."""
    model = metadata.name
    if len(metadata.inputs) != 1:
        raise invalid(
            f"a raw binary body needs a model with one input, but '{model}' has "
            f"{len(metadata.inputs)}"
        )
    spec = metadata.inputs[0]
    request = ModelInferRequest(model_name=model, model_version=version)
    if spec.datatype == BYTES:
        shape = [abs(size) for size in spec.shape]
        if prod(shape) != 1:
            raise _undecided(spec, model, "takes more than one element")
        request.raw_input_contents.append(encode_strings([body]))
    else:
        shape = _shape(spec, len(body), model)
        request.raw_input_contents.append(body)
    request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    return request


def _shape(spec: _Tensor, size: int, model: str) -> list[int]:
    shape = list(spec.shape)
    if shape.count(-1) == 2 and shape[0] == -1:
        shape[0] = _ONE
    if shape.count(-1) > 1:
        raise _undecided(spec, model, "has several dimensions of any size")
    if -1 not in shape:
        return shape
    dtype = DTYPES.get(spec.datatype)
    width = prod(known for known in shape if known != -1) * (dtype.itemsize if dtype else 2)
    if width == 0 or size % width or size == 0:
        raise invalid(
            f"input byte size mismatch for input '{spec.name}' for model '{model}'. Expected a "
            f"multiple of {width}, got {size}"
        )
    shape[shape.index(-1)] = size // width
    return shape


def _undecided(spec: _Tensor, model: str, reason: str) -> Failure:
    return invalid(
        f"the shape of a raw binary body for input '{spec.name}' of model '{model}' is not "
        f"decided: {list(spec.shape)} {reason}"
    )
