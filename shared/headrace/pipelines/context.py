"""What a running step knows and may ask for."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.pipelines.plan import PipelineError

if TYPE_CHECKING:
    from headrace.client.platform import Platform, Promotion
    from headrace.events import GateEvidence


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A blob by its address and its digest (`sha256:<hex>`)."""

    uri: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetVersion:
    """A dataset version whose segments lie verified on the local disk, in order.

    `labelled_through` is RFC 3339 text or None.
    """

    dataset: str
    version: int
    digest: str
    rows: int
    labelled_through: str | None
    paths: Sequence[Path]


class Host(Protocol):
    """Where a step runs: a worker, or the author's own process."""

    def fetch(self, files: Sequence[File]) -> list[Path]:
        """Local read-only copies of blobs; each hashes to its digest. Raises Refused, NotFound."""
        ...

    def log(self, event: str, fields: Mapping[str, Any]) -> None:
        """One progress line."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What stays the same over all steps of a run.

    `trigger` is what started it: for a drift retraining drift_epoch, drift_event_id, model,
    version, monitor, kind, detected_at (RFC 3339) and the evidence.
    """

    run_id: str
    pipeline: str
    plan_digest: str
    parameters: Mapping[str, Any]
    seed: int
    requested_by: str = "local"
    project: str = "default"
    model: str | None = None
    trigger: Mapping[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    datasets: Sequence[Mapping[str, Any]] = ()
    environments: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[str] = ()


def seed_for(run_seed: int, step: str) -> int:
    """The seed of a step, in 0..2**32-1: every step its own, the same for the same run seed."""
    digest = hashlib.sha256(f"{run_seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


@dataclass(kw_only=True)
class StepContext:
    """Given to a step that asks for it by annotation.

    `scratch` is the one directory that it may write, gone afterwards. `seed` is its own seed;
    `random` and numpy's legacy generator are seeded with it already.
    """

    run: RunFacts
    step: str
    attempt: int
    scratch: Path
    host: Host
    front_url: str = ""
    causation_id: str | None = None
    datasets: list[dict[str, Any]] = field(default_factory=list)
    promotions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """Id of the pipeline run."""
        return self.run.run_id

    @property
    def seed(self) -> int:
        """Seed of this step."""
        return seed_for(self.run.seed, self.step)

    @property
    def trigger(self) -> Mapping[str, Any]:
        """What started the run, see RunFacts."""
        return self.run.trigger

    @property
    def tracking_uri(self) -> str:
        """What `mlflow.set_tracking_uri` takes."""
        return self.front_url

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that carry the chain of causes on."""
        headers = {"x-correlation-id": self.run.correlation_id, "x-causation-id": self.causation_id}
        return {name: value for name, value in headers.items() if value}

    @cached_property
    def platform(self) -> Platform:
        """The platform's REST API, with this step's headers on every call."""
        from headrace.client.platform import Platform  # noqa: PLC0415  httpx is not light

        return Platform(url=self.front_url, headers=self.headers)

    def log(self, event: str, **fields: Any) -> None:
        """One progress line for whoever watches the worker."""
        self.host.log(event, fields)

    def fetch(self, *files: File) -> list[Path]:
        """Local read-only copies, fetched together and verified. Raises Refused, NotFound."""
        return self.host.fetch(files)

    def dataset(self, name: str, version: int | None = None) -> DatasetVersion:
        """A dataset version with its verified segments; None: the newest one.

        It becomes part of the run's manifest. Raises NotFound, Refused.
        """
        found = self.platform.dataset_version(name, version)
        used = {"dataset": name, "version": found["version"], "digest": found["digest"]}
        if used not in self.datasets:
            self.datasets.append(used)
        files = [File(uri=part["uri"], digest=part["digest"]) for part in found["segments"]]
        return DatasetVersion(
            dataset=name,
            version=found["version"],
            digest=found["digest"],
            rows=found["rows"],
            labelled_through=found.get("labelled_through"),
            paths=self.host.fetch(files),
        )

    def request_promotion(
        self, model: str, version: int, *, evidence: GateEvidence | None, comment: str = ""
    ) -> Promotion:
        """Ask the registry to make a version the champion; the gate decides on the evidence."""
        decided = self.platform.request_promotion(
            model,
            version,
            requested_by=f"pipeline/{self.run.pipeline}/{self.run_id}",
            evidence=evidence,
            comment=comment,
        )
        self.promotions.append(
            {
                "model": model,
                "version": version,
                "request_id": decided.request_id,
                "outcome": decided.outcome,
                "reason": decided.reason,
            }
        )
        return decided

    def manifest(self) -> bytes:
        """The RunManifest as far as it is known now, canonical JSON; see `manifest.build`."""
        from headrace.pipelines.manifest import build  # noqa: PLC0415

        return build(self.run, datasets=self.datasets)


_CURRENT: ContextVar[StepContext | None] = ContextVar("headrace_step_context", default=None)


def current_context() -> StepContext:
    """The context of the step that runs here. Raises PipelineError outside of one."""
    context = _CURRENT.get()
    if context is None:
        raise PipelineError(
            "no step is running here: pass a StepContext through the step's function"
        )
    return context


@contextlib.contextmanager
def running(context: StepContext) -> Iterator[StepContext]:
    """Inside, `current_context()` is this one."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
