"""A model whose runs wait to be let go, and that keeps what it was fed."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from services.serving.worker.model import Model, TensorSpec
from services.serving.worker.tensors import Array


class GatedSession:
    """`x` FP32 [-1,1] -> `y` the same rows; fails on a run in which any x is negative."""

    platform = "gated"

    def __init__(self, *, rows: int = -1) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.runs: list[list[float]] = []
        self.inputs = (TensorSpec(name="x", datatype="FP32", shape=(rows, 1)),)
        self.outputs = (TensorSpec(name="y", datatype="FP32", shape=(rows, 1)),)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        self.runs.append(feed["x"].ravel().tolist())
        self.begun.release()
        assert self.go.wait(20)
        if np.any(feed["x"] < 0):
            raise ValueError("negative")
        return [feed["x"].copy()]


def gated(session: GatedSession, *, name: str = "gated") -> Model:
    """A model version 1 over the session."""
    return Model(name=name, version=1, runtime=session, logged_outputs=[0])
