"""What a conversion came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

TOLERANCE: Final = 1e-5
"""Largest difference of a probability; of any other number, relative to it where it is above 1."""
FOLDER: Final = "onnx"
ONNX_FILE: Final = "model.onnx"
REPORT_FILE: Final = "parity.json"
"""The two names below `FOLDER`, beside the model that was converted."""


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
    sources: Mapping[str, str] = Field(
        default_factory=dict,
        description="What was converted: digests (sha256:...) of the model's files, by their path "
        "in its folder",
    )
    onnx_digest: str = Field(default="", description="sha256 of model.onnx, where it holds")
    versions: dict[str, str] = Field(default_factory=dict, description="Of the libraries")

    @property
    def largest(self) -> float:
        """The largest difference of any number."""
        return max((each.max_difference or 0.0 for each in self.outputs), default=0.0)

    @property
    def bears_out(self) -> bool:
        """Whether what it counted is what it concludes, by the tolerance that holds here."""
        alike = all(each.different == 0 for each in self.outputs)
        near = self.tolerance <= TOLERANCE and self.largest <= TOLERANCE
        return self.holds and bool(self.outputs) and alike and near
