"""A model whose runs wait to be let go, and that keeps what it was fed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.serving.worker.model import Model
from services.serving.worker.tensors import Array


@dataclass(frozen=True)
class _Declared:
    name: str
    type: str
    shape: list[Any]


class GatedSession:
    """`x` FP32 [-1,1] -> `y` the same rows; fails on a run in which any x is negative."""

    def __init__(self, *, rows: object = "rows") -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.runs: list[list[float]] = []
        self._rows = rows

    def get_inputs(self) -> list[_Declared]:
        return [_Declared("x", "tensor(float)", [self._rows, 1])]

    def get_outputs(self) -> list[_Declared]:
        return [_Declared("y", "tensor(float)", [self._rows, 1])]

    def run(self, _: list[str], feed: dict[str, Array]) -> list[Array]:
        self.runs.append(feed["x"].ravel().tolist())
        self.begun.release()
        assert self.go.wait(20)
        if np.any(feed["x"] < 0):
            raise ValueError("negative")
        return [feed["x"].copy()]


def gated(session: GatedSession, *, name: str = "gated") -> Model:
    """A model version 1 over the session."""
    return Model(name=name, version=1, session=session, logged_outputs=[0])
