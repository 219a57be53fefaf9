"""A model in memory: a runtime, and the tensors it takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from headrace.errors import Refused
from headrace.limits import RESERVED_COLUMNS
from services.serving.domain.formats import Format, Tier
from services.serving.domain.limits import DEFAULT_LIMITS, Limits
from services.serving.worker.independence import rows_are_independent
from services.serving.worker.labels import labels_of
from services.serving.worker.residency import HERE, Presence, Residency, Seat
from services.serving.worker.runtimes import open_runtime
from services.serving.worker.runtimes.runtime import Runtime, TensorSpec, blank
from services.serving.worker.sandbox.runtime import open_sandboxed
from services.serving.worker.tensors import Array

__all__ = ["Model", "TensorSpec", "load"]

_WARM_RUNS: Final = 3
_SMOKE_ROWS: Final = 3


class Model:
    """One version of one model, ready to run from any thread. Load with `load`.

    With a seat it may be out of memory at times: whoever runs it holds it.
    """

    def __init__(
        self,
        *,
        name: str,
        version: int,
        runtime: Runtime,
        logged_outputs: Sequence[int],
        labels: Sequence[str] = (),
        independent: bool = True,
        seat: Seat | None = None,
    ) -> None:
        """`independent` says that rows of different requests may share a run."""
        self.name = name
        self.version = version
        self.version_text = str(version)
        self.platform = runtime.platform
        self.inputs = tuple(runtime.inputs)
        self.outputs = tuple(runtime.outputs)
        self.input_places = {spec.name: place for place, spec in enumerate(self.inputs)}
        self.output_places = {spec.name: place for place, spec in enumerate(self.outputs)}
        self.logged_outputs = tuple(logged_outputs)
        self.labels = tuple(labels)
        self.independent = independent
        self.seat = seat
        self.run: Callable[[Mapping[str, Array]], list[Array]] = (
            runtime.run if seat is None else seat.run
        )
        """All outputs, in their declared order. Raises what the runtime raises."""

    def hold(self) -> bool:
        """Keep it in memory until `release`; False, and nothing to release, if it is not there."""
        return self.seat is None or self.seat.hold()

    def bring(self) -> None:
        """Hold it, loaded again if need be: blocks. If that fails, runs raise why."""
        if self.seat is not None:
            self.seat.bring()

    def release(self) -> None:
        """The end of a hold."""
        if self.seat is not None:
            self.seat.release()

    @property
    def presence(self) -> Presence:
        """Whether it is in memory."""
        return HERE if self.seat is None else self.seat.presence


def load(
    path: Path,
    *,
    name: str,
    version: int,
    kind: Format = Format.ONNX,
    limits: Limits = DEFAULT_LIMITS,
    residency: Residency | None = None,
    memory: int = 0,
) -> Model:
    """Load a model file of this format and warm it with a smoke run.

    One whose loading runs code is loaded in a process of its own, within the limits. With a
    residency that has a budget it takes a seat there; `memory` is what it takes in bytes, 0 if
    nobody measured: then the size of its files stands for it.

    Raises Refused when the file is not such a model, has tensors that the protocol cannot carry
    or inputs named like columns of labelled data, or fails on rows of zeros and empty strings.
    """

    def open_it() -> Runtime:
        return _open(path, kind, name=name, version=version, limits=limits)

    if residency is None or not residency.budget:
        return _tried(path, kind, open_it(), name=name, version=version)
    seat = residency.seat(open_it, size=memory or _size(path))
    seat.bring()
    try:
        return _tried(path, kind, seat.opened(), name=name, version=version, seat=seat)
    finally:
        seat.release()


def _open(path: Path, kind: Format, *, name: str, version: int, limits: Limits) -> Runtime:
    runtime: Runtime
    if kind.tier is Tier.PICKLED:
        runtime = open_sandboxed(path, kind, name=name, version=version, limits=limits)
    else:
        runtime = open_runtime(path, kind)
    if not runtime.inputs or any(not spec.shape for spec in runtime.inputs):
        raise Refused(f"{path.name}: every input needs a first dimension for the rows")
    reserved = sorted(RESERVED_COLUMNS.intersection(spec.name for spec in runtime.inputs))
    if reserved:
        raise Refused(
            f"{path.name}: input {reserved[0]!r} is named like a column of labelled data; rename it"
        )
    return runtime


def _tried(
    path: Path, kind: Format, runtime: Runtime, *, name: str, version: int, seat: Seat | None = None
) -> Model:
    """The model over a runtime, after a smoke run."""
    return Model(
        name=name,
        version=version,
        runtime=runtime,
        logged_outputs=_logged(path, runtime),
        labels=labels_of(path, kind),
        independent=rows_are_independent(runtime.inputs, runtime.run),
        seat=seat,
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())


def _logged(path: Path, runtime: Runtime) -> list[int]:
    """Places of the outputs that are as long as the rows, by a smoke run."""
    rows = _rows(runtime.inputs)
    shapes = _smoke(path, runtime, rows)
    return [place for place, shape in enumerate(shapes) if shape and shape[0] == rows]


def _rows(inputs: Sequence[TensorSpec]) -> int:
    first = inputs[0].shape[0]
    return _SMOKE_ROWS if first == -1 else first


def _smoke(path: Path, runtime: Runtime, rows: int) -> list[tuple[int, ...]]:
    feed = {spec.name: blank(spec, rows) for spec in runtime.inputs}
    try:
        for _ in range(_WARM_RUNS):
            outputs = runtime.run(feed)
    except Exception as error:
        raise Refused(f"{path.name} fails on a smoke run of {rows} blank rows: {error}") from error
    return [np.shape(output) for output in outputs]
