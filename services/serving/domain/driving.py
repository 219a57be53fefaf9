"""What rollouts, bandits and experiments have in common: each drives one model's tables. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict


class Beginning(TypedDict):
    """How something that drives tables began, and where it is; the fields of `Driven`."""

    project: str
    model: str
    champion: int
    table: int
    author: str
    reason: str
    correlation_id: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Driven:
    """Something that sets a model's tables.

    `champion` is the version that it began beside, `table` the table that it set last.
    """

    project: str
    model: str
    champion: int
    table: int
    author: str
    reason: str
    correlation_id: str
    started_at: datetime
