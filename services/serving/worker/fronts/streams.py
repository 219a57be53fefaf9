"""What a front-end is told of calls with streams."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.serving.worker.calls import StreamCalls


@dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """The calls with streams, and how many of them may be open at a time."""

    calls: StreamCalls = field(default_factory=dict)
    limit: int = 128
