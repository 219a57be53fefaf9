"""What a conversion came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

TOLERANCE: Final = 1e-5
"""Largest difference of a probability; of any other number, relative to it where it is above 1."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OutputParity(_Part):
    """How far one output of the converted model is from the original's, over all rows."""

    name: str
    kind: Literal["label", "number"]
    max_difference: float | None = Field(default=None, description="Of numbers")
    different: int = Field(description="Rows with another label, or with a number beyond tolerance")


class ParityReport(_Part):
    """Both models on the same rows. `holds`: the ONNX model may answer for the original."""

    format: Literal[1] = 1
    holds: bool
    reason: str = ""
    tolerance: float = TOLERANCE
    recorded_rows: int = Field(default=0, description="From an input example or given by the user")
    sampled_rows: int = Field(default=0, description="Drawn around those, or from nothing")
    missing_values: bool = Field(default=False, description="Whether some of the numbers were NaN")
    outputs: Sequence[OutputParity] = ()
    source_digest: str = Field(default="", description="sha256 of the model file")
    onnx_digest: str = Field(default="", description="sha256 of model.onnx, where it holds")
    versions: dict[str, str] = Field(default_factory=dict, description="Of the libraries")
