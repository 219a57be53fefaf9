"""A model in a process of its own, to the rest of the worker like any other runtime.

A thread keeps the process: starts it, notices its end, and starts it again with back-off. It
lasts as long as somebody holds the runtime; process and thread end together.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.worker.failure import Code, Failure
from services.serving.worker.runtimes.runtime import TensorSpec
from services.serving.worker.sandbox import wire
from services.serving.worker.sandbox.process import Broken, Child
from services.serving.worker.tensors import Array

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_STEADY_SECONDS: Final = 60.0
_places = count()


class SandboxedRuntime:
    """Made by `open_sandboxed`. Calls run one at a time; from any thread."""

    def __init__(self, keeper: _Keeper, loaded: Mapping[str, Any]) -> None:
        self.platform = str(loaded["platform"])
        self.inputs = _specs(loaded["inputs"])
        self.outputs: Sequence[TensorSpec] = _specs(loaded["outputs"])
        self.confined = str(loaded["loaded"])
        """What keeps the process in, as text for people."""
        self._datatypes = {spec.name: spec.datatype for spec in self.inputs}
        self._keeper = keeper
        self.close = weakref.finalize(self, keeper.close)
        """End the process; done by itself when nobody holds the runtime any more."""

    @property
    def pid(self) -> int | None:
        """Of the process that answers now."""
        return self._keeper.pid

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """See Runtime. Raises Failure: UNAVAILABLE without a process, else INTERNAL."""
        tensors = [(name, self._datatypes[name], array) for name, array in feed.items()]
        answer = self._keeper.ask(tensors)
        if "error" in answer.fields:
            raise Failure(Code.INTERNAL, f"{self._keeper.what} failed: {answer.fields['error']}")
        came = [(name, kind) for name, kind, _ in answer.tensors]
        if came != [(spec.name, spec.datatype) for spec in self.outputs]:
            raise Failure(Code.INTERNAL, f"{self._keeper.what} gave other outputs: {came}")
        return [array for _, _, array in answer.tensors]


def open_sandboxed(
    path: Path, kind: Format, *, name: str, version: int, limits: Limits
) -> SandboxedRuntime:
    """Load a model in a process of its own.

    Raises Refused when it cannot be loaded, crashes, or takes too long or too much memory.
    """
    keeper = _Keeper(path, kind, what=f"sandboxed model '{name}' version {version}", limits=limits)
    return SandboxedRuntime(keeper, keeper.first())


class _Keeper:
    """Knows nothing of the runtime that uses it, so that this one can be let go of."""

    def __init__(self, path: Path, kind: Format, *, what: str, limits: Limits) -> None:
        self.what = what
        self._path = path
        self._kind = kind
        self._limits = limits
        self._first_core = next(_places)
        self._turn = threading.Lock()
        self._child: Child | None = None
        self._why = "it is being loaded"
        self._first: Mapping[str, Any] | Refused | None = None
        self._tried = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="sandbox-keeper", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    def first(self) -> Mapping[str, Any]:
        """What the first process said of the model. Raises Refused."""
        self._tried.wait()
        if isinstance(self._first, Mapping):
            return self._first
        raise self._first or Refused(f"{self.what}: its process could not be started: {self._why}")

    def ask(self, tensors: Sequence[wire.Named]) -> wire.Message:
        """The answer of the process. Raises Failure."""
        if not self._turn.acquire(timeout=self._limits.run_seconds):
            raise Failure(Code.UNAVAILABLE, f"{self.what} is busy with earlier requests")
        try:
            child = self._child
            if child is None:
                raise Failure(Code.UNAVAILABLE, f"{self.what} is being started again: {self._why}")
            return child.call(tensors)
        except Broken as error:
            self._child, self._why = None, str(error)
            raise Failure(
                Code.UNAVAILABLE, f"{self.what}: its process {error}; it is started again"
            ) from error
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process and the thread; from any thread, without waiting."""
        self._closed.set()
        child = self._child
        if child is not None:
            child.kill("is not needed any more")

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._live_once()
            except Exception as error:
                # A machine without files, memory or processes to spare may have some later.
                self._why = repr(error)
            finally:
                self._tried.set()
            if not isinstance(self._first, Mapping):
                return
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            self._closed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _live_once(self) -> None:
        child = Child(self._path, self._kind, self._limits, first_core=self._first_core)
        try:
            loaded = child.loaded().fields
            self._first = self._first or loaded
            self._child = child
            self._tried.set()
            if not self._closed.is_set():
                self._why = child.watch()
        except Refused as refused:
            self._why = str(refused)
            self._first = self._first or refused
        finally:
            self._child = None
            with self._turn:
                child.close()


def _specs(listed: Sequence[Mapping[str, Any]]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name=str(each["name"]),
            datatype=str(each["datatype"]),
            shape=tuple(int(size) for size in each["shape"]),
        )
        for each in listed
    ]
