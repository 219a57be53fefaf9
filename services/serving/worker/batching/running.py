"""One run of a model over the rows of some requests, and what each of them gets of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from services.serving.worker.batching.job import Job
from services.serving.worker.failure import Code, Failure
from services.serving.worker.model import Model
from services.serving.worker.tensors import BYTES, DTYPES, Array, encode, split_rows


class Unequal(Exception):
    """Outputs that do not follow the rows of a shared run, so that nobody's part is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Raw outputs as `[output][request]` and in one piece, their shapes, how long each part took.

    `inputs` are the raw inputs of all requests, end to end.
    """

    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    pieces: Sequence[Sequence[bytes]]
    shapes: tuple[tuple[int, ...], ...]
    began_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


def run(model: Model, jobs: Sequence[Job]) -> Run:
    """Run a model once for all of them; they agree in shape but for the rows.

    Raises Failure when the model does, and Unequal.
    """
    began = time.monotonic_ns()
    rows = [job.plan.rows for job in jobs]
    inputs = joined(jobs)
    feed = feed_of(model, jobs, inputs, sum(rows))
    fed = time.monotonic_ns()
    outputs = _run(model, feed)
    ran = time.monotonic_ns()
    shapes = tuple([np.shape(output) for output in outputs])
    if len(jobs) > 1 and any(shape[:1] != (sum(rows),) for shape in shapes):
        raise Unequal
    raws = [
        encode(spec.datatype, output) for spec, output in zip(model.outputs, outputs, strict=True)
    ]
    pieces = _pieces(model, raws, shapes, rows)
    return Run(
        inputs=inputs,
        outputs=raws,
        pieces=pieces,
        shapes=shapes,
        began_ns=began,
        input_ns=fed - began,
        infer_ns=ran - fed,
        output_ns=time.monotonic_ns() - ran,
    )


def joined(jobs: Sequence[Job]) -> list[bytes]:
    """The raw inputs of all requests: those that agree in shape need only be put end to end."""
    return [b"".join(column) for column in zip(*[job.data.raws for job in jobs], strict=True)]


def feed_of(
    model: Model, jobs: Sequence[Job], inputs: Sequence[bytes], rows: int
) -> dict[str, Array]:
    """The rows of all requests, one below the other; `inputs` are their `joined` raw tensors."""
    feed: dict[str, Array] = {}
    for place, spec in enumerate(model.inputs):
        if spec.datatype == BYTES:
            arrays = [job.data.strings[spec.name] for job in jobs]
            feed[spec.name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        else:
            shape = (rows, *jobs[0].plan.rows_of[place])
            feed[spec.name] = np.frombuffer(inputs[place], DTYPES[spec.datatype]).reshape(shape)
    return feed


def _run(model: Model, feed: dict[str, Array]) -> list[Array]:
    try:
        return model.run(feed)
    except Failure:
        raise
    except Exception as error:
        raise Failure(
            Code.INTERNAL, f"{model.platform} failed for model '{model.name}': {error}"
        ) from error


def _pieces(
    model: Model, raws: Sequence[bytes], shapes: Sequence[tuple[int, ...]], rows: Sequence[int]
) -> list[list[bytes]]:
    if len(rows) == 1:
        return [[raw] for raw in raws]
    starts = [0, *accumulate(rows[:-1])]
    return [
        split_rows(spec.datatype, shape, raw, starts)
        for spec, shape, raw in zip(model.outputs, shapes, raws, strict=True)
    ]
