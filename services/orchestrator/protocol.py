"""What a worker and the orchestrator say to each other over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.events.base import Digest, Name


class Message(BaseModel):
    """Base: immutable; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hello(Message):
    """A worker process has started: `session` is new in every life of it.

    Leases of an earlier life of the same worker end at once. Sent twice: at the start without
    plans, then with them once the pipelines are imported.
    """

    worker: Name
    session: Name
    plans: list[dict[str, Any]] = Field(default_factory=list, max_length=1000)
    environment: dict[str, Any] = Field(default_factory=dict)


class Claim(Message):
    """Give me a ready step of one of these pipelines, waiting for one if there is none."""

    worker: Name
    session: Name
    pipelines: list[Name] = Field(min_length=1, max_length=1000)
    wait_seconds: float = Field(default=20.0, ge=0, le=60)


class Assignment(Message):
    """The right to run one attempt of a step until the lease ends.

    `inputs` are encoded values: `{kind, value}` or `{kind, uri, digest, size}`. `run` holds the
    fields of `headrace.pipelines.context.RunFacts`.
    """

    fence: int
    attempt: int
    step: str
    module: str
    attribute: str
    run: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    timeout: float
    threads: int
    memory: int | None
    lease_seconds: float
    correlation_id: str
    causation_id: str
    manifest_digest: str | None = None


class Claimed(Message):
    """The answer to a Claim; no assignment if nothing became ready in time."""

    assignment: Assignment | None = None


class Held(Message):
    """One attempt that a worker is running."""

    pipeline_run_id: Name
    step: Name
    fence: int


class Heartbeat(Message):
    """I am alive and still run these."""

    worker: Name
    session: Name
    held: list[Held] = Field(max_length=1000)


class Renewed(Message):
    """Fences whose lease was renewed; a worker stops every other attempt at once."""

    fences: list[int]


class Completion(Message):
    """The end of an attempt. The same one again is accepted, one of a stale fence is not (409)."""

    worker: Name
    session: Name
    pipeline_run_id: Name
    step: Name
    fence: int
    outcome: Literal["succeeded", "failed", "timed_out", "released"]
    outputs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    datasets: list[dict[str, Any]] = Field(default_factory=list)
    promotions: list[dict[str, Any]] = Field(default_factory=list)
    manifest_digest: Digest | None = None
    manifest_uri: str | None = None
    error: str | None = None
    retryable: bool = True
