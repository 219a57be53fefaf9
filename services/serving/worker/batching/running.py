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
    """Raw outputs as `[output][request]`, each output's shape, and how long each part took."""

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
    feed = feed_of(model, jobs, sum(rows))
    fed = time.monotonic_ns()
    outputs = _run(model, feed)
    ran = time.monotonic_ns()
    shapes = tuple([np.shape(output) for output in outputs])
    if len(jobs) > 1 and any(shape[:1] != (sum(rows),) for shape in shapes):
        raise Unequal
    pieces = _pieces(model, outputs, shapes, rows)
    return Run(
        pieces=pieces,
        shapes=shapes,
        began_ns=began,
        input_ns=fed - began,
        infer_ns=ran - fed,
        output_ns=time.monotonic_ns() - ran,
    )


def feed_of(model: Model, jobs: Sequence[Job], rows: int) -> dict[str, Array]:
    """The rows of all requests, one below the other: raw tensors need only be put end to end."""
    feed: dict[str, Array] = {}
    for place, spec in enumerate(model.inputs):
        if spec.datatype == BYTES:
            arrays = [job.data.strings[spec.name] for job in jobs]
            feed[spec.name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        else:
            raw = b"".join([job.data.raws[place] for job in jobs])
            shape = (rows, *jobs[0].plan.rows_of[place])
            feed[spec.name] = np.frombuffer(raw, DTYPES[spec.datatype]).reshape(shape)
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
    model: Model, outputs: Sequence[Array], shapes: Sequence[tuple[int, ...]], rows: Sequence[int]
) -> list[list[bytes]]:
    raws = [
        encode(spec.datatype, output) for spec, output in zip(model.outputs, outputs, strict=True)
    ]
    if len(rows) == 1:
        return [[raw] for raw in raws]
    starts = [0, *accumulate(rows[:-1])]
    return [
        split_rows(spec.datatype, shape, raw, starts)
        for spec, shape, raw in zip(model.outputs, shapes, raws, strict=True)
    ]
