"""Runs shadows beside answers: after the reply, at the lowest priority, and dropped first.

An answering thread only puts a request on a bounded queue. One thread of its own, which the
scheduler lets run when nobody else wants to, predicts with the shadow and compares.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headrace.rpc.serving.v1.prediction_log_pb2 import ShadowCompared
from services.serving.worker.log_rules import Rules
from services.serving.worker.model import Model
from services.serving.worker.routing.buckets import shadows_of
from services.serving.worker.routing.router import Choice
from services.serving.worker.tensors import Array, encode

_LOWEST: Final = 19
_MAX_WAITING: Final = 64
_MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
_MAX_AGE_NS: Final = 1_000_000_000
"""A request that waited longer is dropped: the worker has no time for shadows."""
_MAX_COMPARED: Final = 1024
_BATCH_REQUESTS: Final = 256
_BATCH_BYTES: Final = 512 * 1024
_IDLE_SECONDS: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting:
    choice: Choice
    shadow: Model
    feed: Mapping[str, Array]
    rows: int
    outputs: Sequence[Array]
    size: int
    since_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One request that a shadow predicted too; `raws` of both are in the same order."""

    model: Model
    shadow: Model
    table_version: int
    request_id: str
    distances: Sequence[float]
    shapes: Sequence[tuple[int, ...]]
    raws: Sequence[bytes]
    shadow_raws: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(map(len, self.raws)) + sum(map(len, self.shadow_raws))


class Shadows:
    """The queue and its thread; `take` gives what was compared."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._compared: deque[Compared] = deque(maxlen=_MAX_COMPARED)
        self._more = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failed = 0

    def offer(
        self, choice: Choice, feed: Mapping[str, Array], rows: int, outputs: Sequence[Array]
    ) -> None:
        """An answer is ready: let the shadows that its table asks for have it, or drop it."""
        if not choice.shadows:
            return
        for shadow in shadows_of(choice.request_id, choice.shadows):
            self._put(choice, shadow, feed, rows, outputs)

    def take(self) -> list[Compared]:
        """What was compared since."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._compared.popleft())
        return taken

    def _put(
        self,
        choice: Choice,
        shadow: Model,
        feed: Mapping[str, Array],
        rows: int,
        outputs: Sequence[Array],
    ) -> None:
        size = sum(array.nbytes for array in (*feed.values(), *outputs))
        with self._more:
            full = len(self._waiting) >= _MAX_WAITING
            if full or self._waiting_bytes + size > _MAX_WAITING_BYTES or not self._runs():
                self.dropped += 1
                return
            self._waiting_bytes += size
            self._waiting.append(
                _Waiting(
                    choice=choice,
                    shadow=shadow,
                    feed=feed,
                    rows=rows,
                    outputs=outputs,
                    size=size,
                    since_ns=time.monotonic_ns(),
                )
            )
            self._more.notify()

    def _runs(self) -> bool:
        """Whether the thread is there; it is started when it is first of use, if that can be."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="shadows", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return self._thread is not None

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        while True:
            with self._more:
                while not self._waiting:
                    self._more.wait(_IDLE_SECONDS)
                waiting = self._waiting.popleft()
                self._waiting_bytes -= waiting.size
            if time.monotonic_ns() - waiting.since_ns > _MAX_AGE_NS:
                self.dropped += 1
                continue
            try:
                compared = _compare(waiting)
                # The oldest makes room: the control process takes too few.
                self.dropped += len(self._compared) == _MAX_COMPARED
                self._compared.append(compared)
            except Exception:
                # Whatever a shadow does wrong is its own figure and nobody's answer.
                self.failed += 1


def _compare(waiting: _Waiting) -> Compared:
    """Predict with the shadow. Raises what its runtime raises, ValueError if it differs in form."""
    model, shadow = waiting.choice.model, waiting.shadow
    theirs = shadow.run(waiting.feed)
    places = model.logged_outputs
    ours = [waiting.outputs[place] for place in places]
    others = [theirs[shadow.output_places[model.outputs[place].name]] for place in places]
    if [each.shape for each in ours] != [each.shape for each in others]:
        raise ValueError("outputs of other shapes")
    return Compared(
        model=model,
        shadow=shadow,
        table_version=waiting.choice.table_version,
        request_id=waiting.choice.request_id,
        distances=distances(ours, others, rows=waiting.rows),
        shapes=[each.shape for each in ours],
        raws=_raws(model, model, places, ours),
        shadow_raws=_raws(model, shadow, places, others),
    )


def _raws(model: Model, of: Model, places: Sequence[int], arrays: Sequence[Array]) -> list[bytes]:
    return [
        encode(of.outputs[of.output_places[model.outputs[place].name]].datatype, array)
        for place, array in zip(places, arrays, strict=True)
    ]


def distances(ours: Sequence[Array], others: Sequence[Array], *, rows: int) -> list[float]:
    """For each row the largest absolute difference; 1 for text that differs."""
    largest = np.zeros(rows)
    for one, other in zip(ours, others, strict=True):
        if one.dtype.kind in "fiub" and other.dtype.kind in "fiub":
            apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
        else:
            apart = (one != other).astype(np.float64)
        largest = np.maximum(largest, apart.reshape(rows, -1).max(axis=1, initial=0.0))
    return [float(each) for each in largest]


def pack(
    compared: Sequence[Compared],
    *,
    project: str,
    now_us: int,
    dropped: int,
    failed: int,
    rules: Rules | None = None,
) -> list[ShadowCompared]:
    """Records of one pair of versions, one table and one set of row shapes each.

    Outputs that the rules redact are left out: they never leave this process.
    """
    rules = rules or Rules()
    groups: dict[object, list[list[Compared]]] = {}
    for each in compared:
        shapes = tuple(shape[1:] for shape in each.shapes)
        key = each.model.name, each.model.version, each.shadow.version, each.table_version, shapes
        chunks = groups.setdefault(key, [[]])
        full = sum(entry.size for entry in chunks[-1]) + each.size > _BATCH_BYTES
        if chunks[-1] and (full or len(chunks[-1]) >= _BATCH_REQUESTS):
            chunks.append([])
        chunks[-1].append(each)
    return [
        _record(
            chunk,
            project=project,
            now_us=now_us,
            dropped=dropped,
            failed=failed,
            redacted=rules.of(chunk[0].model.name).redact.keys(),
        )
        for chunks in groups.values()
        for chunk in chunks
    ]


def _record(
    chunk: Sequence[Compared],
    *,
    project: str,
    now_us: int,
    dropped: int,
    failed: int,
    redacted: Collection[str],
) -> ShadowCompared:
    first = chunk[0]
    record = ShadowCompared(
        project=project,
        model=first.model.name,
        version=first.model.version,
        shadow_version=first.shadow.version,
        table_version=first.table_version,
        prediction_ids=[
            f"{each.request_id}/{row}" for each in chunk for row in range(len(each.distances))
        ],
        distances=[distance for each in chunk for distance in each.distances],
        compared_at_us=now_us,
        dropped_requests=dropped,
        failed_requests=failed,
    )
    rows = len(record.distances)
    for column, place in enumerate(first.model.logged_outputs):
        spec = first.model.outputs[place]
        if spec.name in redacted:
            continue
        shape = (rows, *first.shapes[column][1:])
        record.outputs.add(
            name=spec.name,
            datatype=spec.datatype,
            shape=shape,
            data=b"".join(each.raws[column] for each in chunk),
        )
        other = first.shadow.outputs[first.shadow.output_places[spec.name]]
        record.shadow_outputs.add(
            name=other.name,
            datatype=other.datatype,
            shape=shape,
            data=b"".join(each.shadow_raws[column] for each in chunk),
        )
    return record
