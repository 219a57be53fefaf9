"""Why a request may be worth logging at any rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from services.serving.link.messages import Bounds, Flag
from services.serving.worker.answered import Answered
from services.serving.worker.model import TensorSpec
from services.serving.worker.routing.buckets import shadows_of
from services.serving.worker.tensors import DTYPES


def flags_of(request: Answered, outlier: Mapping[str, Bounds]) -> Iterator[Flag]:
    """The flags of a single request; each is found out only if the ones before did not do."""
    if request.flag:
        yield request.flag
    if shadows_of(request.request_ids[0], request.shadows):
        yield "shadow"
    if outlier and _is_outlier(request, outlier):
        yield "outlier"


def _is_outlier(request: Answered, bounds: Mapping[str, Bounds]) -> bool:
    model = request.model
    outputs = [model.outputs[place] for place in request.logged_outputs]
    return _beyond(model.inputs, request.inputs, bounds) or _beyond(
        outputs, request.outputs, bounds
    )


def _beyond(
    specs: Sequence[TensorSpec], raws: Sequence[bytes], bounds: Mapping[str, Bounds]
) -> bool:
    """Whether a number lies beyond its bounds, or is none; text has no bounds."""
    for spec, raw in zip(specs, raws, strict=True):
        usual, dtype = bounds.get(spec.name), DTYPES.get(spec.datatype)
        if usual is None or dtype is None:
            continue
        values = np.frombuffer(raw, dtype)
        least, most = usual.span
        if not ((values >= least) & (values <= most)).all():
            return True
    return False
