"""The messages. Both sides state what is, never what to do: a lost one is made up by the next.

The control process sends the whole `Assignment` whenever it changes and to every worker that
connects; a worker makes itself so and sends its whole `Status` whenever that changes. What a
client asks of models is a `ModelRequest` with a connection of its own, over when it is answered.
"""

from __future__ import annotations

from math import inf
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.serving.domain.formats import Format

Flag = Literal["canary", "shadow", "outlier", "error"]
"""Why an answer may be worth logging at any rate."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Hello(_Message):
    """First frame on a connection: control, log, shadow, or one of `models` for each request."""

    worker: str
    pid: int
    channel: Literal["control", "log", "models", "shadow"]


class VersionFiles(_Message):
    """Where a verified model version lies, and the digest of its files (the cache key).

    `path` is the file that the loader of its format opens, `memory` the bytes that it takes in
    memory, 0 if that is not known.
    """

    version: int
    path: str
    digest: str
    format: Format = Format.ONNX
    memory: int = 0


class ArmAssignment(_Message):
    """A version with a share of the buckets."""

    name: str
    version: int


class BucketAssignment(_Message):
    """Buckets from the end of the one before up to, not including, `end`, and whose they are."""

    end: int
    arm: str


class ShadowAssignment(_Message):
    """A version that runs beside `weight` of 10,000 answers."""

    version: int
    weight: int


class TrafficAssignment(_Message):
    """How the keys of a model are routed: all 10,000 buckets, in order."""

    table: int
    salt: str
    experiment: str | None = None
    slow_ms: float | None = None
    arms: list[ArmAssignment] = Field(default_factory=list)
    buckets: list[BucketAssignment] = Field(default_factory=list)
    shadows: list[ShadowAssignment] = Field(default_factory=list)


class ArmCounts(_Message):
    """What one arm answered on one worker since its table came there."""

    arm: str
    requests: int
    failures: int
    slow: int


class ModelAssignment(_Message):
    """What one model must look like. `versions` are loaded; only champion and pinned answer.

    `unloaded` says why there are none, if a client had it so.
    """

    name: str
    champion: int | None = None
    deployment: int | None = Field(default=None, description="That made it champion")
    pinned: int | None = None
    versions: list[VersionFiles] = Field(default_factory=list)
    unloaded: str = ""
    traffic: TrafficAssignment | None = None
    aliases: dict[str, int] = Field(default_factory=dict)


class Bounds(_Message):
    """Where the values of a tensor usually lie, ends included."""

    model_config = ConfigDict(allow_inf_nan=False)
    min: float | None = None
    max: float | None = None

    @property
    def span(self) -> tuple[float, float]:
        """Both ends, infinite where none is given."""
        return (
            -inf if self.min is None else self.min,
            inf if self.max is None else self.max,
        )

    @model_validator(mode="after")
    def _of_some_use(self) -> Self:
        least, most = self.span
        if least > most or self.span == (-inf, inf):
            raise ValueError("expected min, max or both, min not above max")
        return self


class LogRules(_Message):
    """What of a model's answers is logged: a share of the requests, without what is redacted.

    Requests with one of the flags in `always` are logged whatever the rate; one with a value
    beyond the bounds of `outlier`, by the tensor's name, has that flag. `redact` names tensors
    that are left out (`drop`), or of which only a keyed hash a row is logged (`hash`).
    """

    version: int = Field(default=0, ge=0)
    rate: float = Field(default=1.0, ge=0, le=1)
    always: frozenset[Flag] = frozenset(get_args(Flag))
    outlier: dict[str, Bounds] = Field(default_factory=dict)
    redact: dict[str, Literal["drop", "hash"]] = Field(default_factory=dict)


class Assignment(_Message):
    """What a worker must look like; `revision` rises with every change."""

    revision: int
    models: list[ModelAssignment] = Field(default_factory=list)
    log_rules: dict[str, LogRules] = Field(
        default_factory=dict, description="By model; others are logged whole"
    )


class ModelRequest(_Message):
    """A client wants a model loaded or unloaded, on all workers."""

    action: Literal["load", "unload"]
    model: str


class ModelAnswer(_Message):
    """What came of it: nothing to add, or a status code of gRPC and why."""

    code: int = 0
    message: str = ""


class FirstAnswered(_Message):
    """The first answer of a champion on one worker."""

    prediction_id: str
    served_at_us: int


class ModelStatus(_Message):
    """What one model looks like on one worker. `failures`: reason by version."""

    name: str
    champion: int | None = None
    deployment: int | None = None
    loaded: list[int] = Field(default_factory=list)
    failures: dict[int, str] = Field(default_factory=dict)
    first_answer: FirstAnswered | None = None
    table: int | None = None
    arms: list[ArmCounts] = Field(default_factory=list)


class Status(_Message):
    """What a worker looks like: the last revision it worked through, and its models."""

    worker: str
    revision: int
    models: list[ModelStatus] = Field(default_factory=list)
