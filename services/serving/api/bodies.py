"""What the calls about a model's traffic have in common."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from services.serving.domain.traffic import Arm

NO_NUL: Final = r"^[^\x00]*$"
Author = Annotated[str, Query(min_length=1, max_length=250, pattern=NO_NUL)]
Reason = Annotated[str, Query(max_length=2000, pattern=NO_NUL)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Version = Annotated[int, Field(ge=1, lt=2**31)]


class Body(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Signed(Body):
    """Says who wants it and why."""

    author: str = Field(min_length=1, max_length=250, pattern=NO_NUL)
    reason: str = Field(default="", max_length=2000, pattern=NO_NUL)


class ArmBody(Body):
    """A version with a share of the traffic, in percent with two decimals."""

    version: Version
    percent: float = Field(ge=0, le=100)
    name: str = "canary"

    @property
    def arm(self) -> Arm:
        """The same in the terms of the domain."""
        return Arm(name=self.name, version=self.version, weight=weight_of(self.percent))


def weight_of(percent: float) -> int:
    """A percentage as a number of buckets."""
    return round(percent * 100)
