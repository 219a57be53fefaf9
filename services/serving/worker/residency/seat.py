"""One model's place in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from services.serving.worker.failure import Code, Failure
from services.serving.worker.runtimes.runtime import Runtime
from services.serving.worker.tensors import Array

if TYPE_CHECKING:
    from services.serving.worker.residency.residency import Residency

_RETRY_SECONDS: Final = 5.0
"""How long calls are refused at once after loading failed; the next one tries again."""


class State(Enum):
    """Where a model is."""

    HERE = "here"
    AWAY = "away"
    LOADING = "loading"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a model is, and why, if it is not in memory."""

    state: State
    reason: str = ""

    @property
    def answers(self) -> bool:
        """Whether a call would be answered, if need be after it is loaded."""
        return self.state is not State.BROKEN


HERE: Final = Presence(State.HERE)
_AWAY: Final = Presence(State.AWAY, "not in memory: the next call loads it")
_LOADING: Final = Presence(State.LOADING, "being loaded: calls wait for it")


class Seat:
    """Made by `Residency.seat`, empty. Lasts as long as its model does; any thread may use it.

    Whoever runs the model holds the seat, and a held seat is not emptied.
    """

    def __init__(
        self, residency: Residency, open_runtime: Callable[[], Runtime], *, size: int
    ) -> None:
        self.size = size
        """Bytes that the model takes in memory."""
        self.used_ns = 0
        self.fixed = False
        """Whether the model must be here: it has a part in live comparisons."""
        self.counted = False
        """Whether the memory is taken, or set aside for a load; the residency's to say."""
        self._residency = residency
        self._open = open_runtime
        self._runtime: Runtime | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._error: Exception | None = None
        self._retry_at = 0.0

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """As the runtime does. Raises Failure, UNAVAILABLE, if the model is not in memory."""
        runtime = self._runtime
        if runtime is None:
            why = self._error or _AWAY.reason
            raise Failure(Code.UNAVAILABLE, f"the model could not be loaded again: {why}")
        return runtime.run(feed)

    def hold(self) -> bool:
        """Keep the model here until `release`; False if it is not here."""
        with self._lock:
            if self._runtime is None:
                return False
            self._take()
            return True

    def bring(self) -> None:
        """Hold the seat, with the model in it if it can be loaded; blocks until it is tried.

        Callers that come meanwhile wait for the same load.
        """
        if self.hold():
            return
        with self._loading:
            if self.hold():
                return
            runtime = self._loaded()
            with self._lock:
                self._runtime = runtime
                self._take()

    def release(self) -> None:
        """The end of a hold."""
        with self._lock:
            self._users -= 1
        self._residency.released()

    def opened(self) -> Runtime:
        """The runtime. Raises what loading it raised."""
        if self._runtime is None:
            raise self._error or LookupError("the seat is empty")
        return self._runtime

    def vacate(self) -> bool:
        """Let go of the model, unless somebody holds it; whether the seat was emptied."""
        with self._lock:
            if self._users or self._runtime is None:
                return False
            self._runtime = None
            return True

    @property
    def busy(self) -> bool:
        """Whether somebody runs the model, or loads it."""
        return self._users > 0 or self._loading.locked()

    @property
    def presence(self) -> Presence:
        """Where the model is now."""
        if self._runtime is not None:
            return HERE
        if self._error is not None and time.monotonic() < self._retry_at:
            return Presence(State.BROKEN, str(self._error))
        return _LOADING if self._loading.locked() else _AWAY

    def _take(self) -> None:
        self._users += 1
        self.used_ns = time.monotonic_ns()

    def _loaded(self) -> Runtime | None:
        if self._error is not None and time.monotonic() < self._retry_at:
            return None
        try:
            runtime = self._residency.load(self, self._open)
        except Exception as error:
            self._error = error
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return None
        self._error = None
        return runtime
