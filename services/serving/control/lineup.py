"""What every model must look like on the workers, as the assignment says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from services.serving.domain import Deployment, cache_key
from services.serving.domain.conversions import answers_converted
from services.serving.domain.formats import Serveable
from services.serving.link.messages import ModelAssignment, TrafficAssignment, VersionFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A deployment whose verified model is on this disk; `chosen` of its files are served."""

    deployment: Deployment
    chosen: Serveable
    path: Path
    memory: int = 0
    """Bytes that it takes in a worker; 0 if nobody measured."""

    @property
    def key(self) -> str:
        """Name of the contents, and of their folder in the cache."""
        return cache_key(self.chosen.needed)

    @property
    def is_conversion(self) -> bool:
        """Whether it is not the model that was registered itself."""
        return answers_converted(self.deployment)

    def serving(self, deployment: Deployment) -> Placed:
        """The same contents for another deployment of them."""
        reason = self.deployment.native_because
        return replace(self, deployment=replace(deployment, native_because=reason))

    @property
    def files(self) -> VersionFiles:
        """As the workers are told."""
        return VersionFiles(
            version=self.deployment.version,
            path=str(self.path),
            digest=self.key,
            format=self.chosen.format,
            memory=self.memory,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLineup:
    """The versions of one model that are in memory."""

    champion: Placed | None = None
    pinned: Placed | None = None
    candidate: Placed | None = None
    traffic: TrafficAssignment | None = None
    routed: tuple[Placed, ...] = ()
    """Versions that the traffic table needs."""

    def promoted(self, placed: Placed) -> ModelLineup:
        """With a new champion; the one before is pinned, unless it is the same version."""
        before = self.champion
        if before is None:
            return ModelLineup(champion=placed)
        same = before.deployment.version == placed.deployment.version
        if same:
            return replace(self, champion=placed, candidate=None)
        return ModelLineup(champion=placed, pinned=before)

    def with_traffic(
        self, traffic: TrafficAssignment | None, routed: tuple[Placed, ...]
    ) -> ModelLineup:
        """Routed by another table, or by none."""
        return replace(self, traffic=traffic, routed=routed)

    @property
    def all_placed(self) -> tuple[Placed, ...]:
        """Everything in memory; the first of a version is the one that counts."""
        placed = (self.champion, self.pinned, self.candidate)
        return (*(each for each in placed if each), *self.routed)

    def with_candidate(self, placed: Placed | None) -> ModelLineup:
        """With another candidate, or none."""
        return replace(self, candidate=placed)

    def without(self, number: int) -> ModelLineup:
        """With a failed deployment taken out; if it was champion, the one before is again."""
        candidate = self.candidate
        if candidate is not None and candidate.deployment.number == number:
            candidate = None
        if self.champion is not None and self.champion.deployment.number == number:
            return ModelLineup(champion=self.pinned, candidate=candidate)
        return replace(self, candidate=candidate)

    def find(self, deployment: Deployment) -> Placed | None:
        """What is in memory already with the contents of a deployment."""
        wanted = deployment.order.contents
        return next(
            (each for each in self.all_placed if each.deployment.order.contents == wanted), None
        )

    def assignment(
        self, name: str, *, aliases: Mapping[str, int] = MappingProxyType({})
    ) -> ModelAssignment:
        """As the workers are told."""
        versions = {each.files.version: each.files for each in reversed(self.all_placed)}
        return ModelAssignment(
            name=name,
            champion=self.champion.deployment.version if self.champion else None,
            deployment=self.champion.deployment.number if self.champion else None,
            pinned=self.pinned.deployment.version if self.pinned else None,
            versions=list(versions.values()),
            traffic=self.traffic,
            aliases=dict(aliases),
        )
