"""What people, workers and the console send to the governance routes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from headrace.events import GateEvidence, Segment

_NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, StringConstraints(max_length=5000, pattern=_NO_NUL)]
Who = Annotated[
    str,
    StringConstraints(min_length=1, max_length=250, pattern=_NO_NUL, strip_whitespace=True),
]
DatasetName = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[\w.\-]+$")]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
Metric = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=_NO_NUL)]
Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Named = Annotated[str, StringConstraints(max_length=250, pattern=_NO_NUL)]
"""A name in a path or a query."""


class Body(BaseModel):
    """Base: what we do not know is refused, so that a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _no_nul(self) -> Self:
        if "\\u0000" in self.model_dump_json():
            raise ValueError("text may not contain the character NUL")
        return self


class PromotionBody(Body):
    """Ask that a version become champion."""

    alias: Literal["champion"] = "champion"
    requested_by: Who
    evidence: GateEvidence | None = None
    comment: Text = ""


class DecisionBody(Body):
    """Approve or reject a waiting request."""

    approver: Who
    comment: Text = ""


class RollbackBody(Body):
    """Back to the champion before; `from_version` guards against rolling back twice."""

    alias: Literal["champion"] = "champion"
    requested_by: Who
    comment: Text = ""
    from_version: Version | None = None


class PolicyBody(Body):
    """How promotions of a model are decided; see `domain.gate.Policy`."""

    auto_promote: bool = True
    margins: dict[Metric, Margin] = Field(default_factory=dict, max_length=100)
    min_rows: int = Field(default=1, ge=0, le=2**31 - 1)
    updated_by: Who = "operator"


class UploadBody(Body):
    """A dataset version of exactly these segments, already in the blob store."""

    origin: Literal["upload"] = "upload"
    model: Who | None = None
    segments: list[Segment]
    labelled_through: AwareDatetime | None = None
