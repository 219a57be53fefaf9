"""Models that share a budget of memory, and whose loading can be held up or made to fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from services.serving.worker.model import Model, TensorSpec
from services.serving.worker.residency import Residency
from services.serving.worker.runtimes.runtime import Runtime
from services.serving.worker.tensors import Array


class Echo:
    """`x` FP32 [-1,1] -> `y` the same rows."""

    platform = "echo"
    inputs = (TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),)
    outputs = (TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        return [feed["x"].copy()]


class Source:
    """Where one model is loaded from."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Semaphore(0)
        self.loads = 0
        self.error: Exception | None = None

    def open(self) -> Runtime:
        self.loads += 1
        self.begun.release()
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return Echo()


def seated(residency: Residency, source: Source, *, name: str, size: int = 1) -> Model:
    """Version 1 of a model, in memory if there was room."""
    seat = residency.seat(source.open, size=size)
    model = Model(name=name, version=1, runtime=Echo(), logged_outputs=[0], seat=seat)
    model.bring()
    model.release()
    return model
