"""What every JSON event contract shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=250)]
"""A name a person gave: model, dataset, pipeline, key of a metric."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""Content digest, `sha256:` + 64 hex digits."""

Moment = AwareDatetime
"""A point in time with its zone."""


class EventData(BaseModel):
    """Base of the data of an event: immutable, tolerant of fields it does not know yet."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    project: Name = "default"


class Part(BaseModel):
    """Base of what is nested inside an event."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class FileRef(Part):
    """One file of a version: where it lies and what it must hash to."""

    path: str = Field(description="Path inside the version, e.g. model.onnx")
    uri: str = Field(description="s3://bucket/key")
    digest: Digest
    size: int = Field(ge=0, description="Bytes")
