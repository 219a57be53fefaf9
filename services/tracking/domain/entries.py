"""What one write adds to a run, as it goes into the log of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.tracking.domain.chunks import Chunk, chunk_of_point, encode
from services.tracking.domain.entities import RUN_NAME_TAG
from services.tracking.domain.points import Columns, Point

LARGE: Final = 64
"""From this many points on a write has a chunk of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """What outside caused a write: the chain that its event continues."""

    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A checked write: its points in the order in which they came, or one point alone.

    `name` is that of the request, if it brought nothing but points.
    """

    run_id: str
    points: Columns | Point | None = None
    chunk: Chunk | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    chain: Chain | None = None
    single_param: bool = False
    name: bytes | None = None

    @property
    def is_large(self) -> bool:
        """Whether its points have a chunk of their own."""
        return self.chunk is not None and self.chunk.points >= LARGE


def entry_of_point(run_id: str, point: Point, *, chain: Chain | None = None) -> Entry:
    """A write of one point: most are, so it is spared all arrays."""
    return Entry(run_id=run_id, points=point, chunk=chunk_of_point(point), chain=chain)


def entry_of(
    run_id: str,
    columns: Columns | None,
    *,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    chain: Chain | None = None,
    single_param: bool = False,
) -> Entry:
    """A write of these points, params and tags."""
    some = columns if columns is not None and len(columns) else None
    return Entry(
        run_id=run_id,
        points=some,
        chunk=encode(some, digest=some.digest()) if some is not None else None,
        params=params or {},
        tags=tags or {},
        chain=chain,
        single_param=single_param,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to be made; `name` is what its `mlflow.runName` tag will say. Times in ms."""

    run_id: str
    experiment: int
    name: str
    start_time: int
    user_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    chain: Chain | None = None

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags that it will have, that of its name among them."""
        return {**self.tags, RUN_NAME_TAG: self.name}


def told_of(
    params: Mapping[str, str], tags: Mapping[str, str], chain: Chain | None
) -> dict[str, object] | None:
    """What the log keeps for the event that tells of a write, besides its points."""
    told: dict[str, object] = {}
    if params:
        told["params"] = dict(params)
    if tags:
        told["tags"] = dict(tags)
    if chain is not None:
        told["chain"] = [chain.correlation_id, chain.causation_id, chain.traceparent]
    return told or None
