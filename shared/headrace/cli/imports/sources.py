"""What an importer reads, whatever tool wrote it. Times are milliseconds since the epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

SLICE: Final = 50_000
"""Points of a series that are handed on at once."""

OWN_TAGS: Final = "headrace.import."
"""Tags with this prefix say where something came from; they are never copied."""

Stage = Literal["active", "deleted"]


class Unreadable(Exception):
    """Something at the source cannot be read; the message says what and why."""


class Unreachable(Exception):
    """The source or the platform does not answer: nothing more can be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An experiment; here it is known by its name, `source_id` becomes a tag."""

    source_id: str
    name: str
    lifecycle_stage: Stage = "active"
    creation_time: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A dataset that a run used."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run without its points and files; `state` tells whether those changed since."""

    run_id: str
    name: str = ""
    user_id: str = ""
    status: str = "FINISHED"
    start_time: int = 0
    end_time: int | None = None
    lifecycle_stage: Stage = "active"
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Dataset] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[tuple[str, int]] = ()
    artifact_uri: str = ""
    state: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPoint:
    """A metric that was logged for a model."""

    key: str
    value: float
    timestamp: int
    step: int
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A logged model without its files."""

    model_id: str
    name: str
    model_type: str = ""
    status: str = "LOGGED_MODEL_READY"
    status_message: str = ""
    source_run_id: str = ""
    creation_timestamp_ms: int = 0
    last_updated_timestamp_ms: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelPoint] = ()
    artifact_uri: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """An experiment, run or model that cannot be read; it is reported and passed over."""

    identity: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of one metric: shapes (n,), dtypes float64, int64, int64, by step and timestamp."""

    key: str
    values: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def slices(self, size: int = SLICE) -> Iterator[Series]:
        """The same points in pieces of at most `size`."""
        for start in range(0, len(self), size):
            place = slice(start, start + size)
            yield Series(
                key=self.key,
                values=self.values[place],
                timestamps=self.timestamps[place],
                steps=self.steps[place],
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file: its path below the run or model, its size in bytes, and how to read it."""

    path: str
    size: int
    read: Callable[[], Iterator[bytes]]


class Source(Protocol):
    """One place that experiments are read from; its methods may be called from any thread."""

    @property
    def label(self) -> str:
        """What the tag `headrace.import.source` says: kind and place, without credentials."""
        ...

    def experiments(self) -> Iterator[Experiment | Broken]:
        """All experiments, deleted ones too. Raises Unreachable, Unreadable."""
        ...

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """All runs of an experiment, deleted ones too."""
        ...

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """Logged models of an experiment."""
        ...

    def whole(self, run: Run) -> Run:
        """The run with what its listing left out, asked before it is sent."""
        ...

    def series(self, run: Run) -> Iterator[Series]:
        """The points of a run, key by key; a long series in slices. Raises Unreadable."""
        ...

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """The files of a run or model. Raises Unreadable if they cannot be had."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def series_of(
    key: str,
    values: Sequence[float] | NDArray[np.float64],
    timestamps: Sequence[int] | NDArray[np.int64],
    steps: Sequence[int] | NDArray[np.int64],
) -> Series:
    """Columns in any order as a series in order."""
    column = np.asarray(values, dtype=np.float64)
    times = np.asarray(timestamps, dtype=np.int64)
    counts = np.asarray(steps, dtype=np.int64)
    order = np.lexsort((times, counts))
    return Series(key=key, values=column[order], timestamps=times[order], steps=counts[order])


def fingerprint(item: Run | Model, *, with_artifacts: bool) -> str:
    """What the source says of a run or model, in 32 hex digits: equal if nothing changed."""
    content = orjson.dumps(
        [asdict(item), with_artifacts], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    )
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def identity_of(item: Run | Model) -> str:
    """The id of a run or model."""
    return item.run_id if isinstance(item, Run) else item.model_id
