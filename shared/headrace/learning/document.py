"""A snapshot as a file of data: what it answers with, and where it comes from.

`model.river.json` is what is served. Beside it lie `replay/start.json`, the state that it went on
from, and `replay/examples.npz`, what it learned since then in this order.
"""

from __future__ import annotations

from math import prod
from typing import Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headrace.errors import Refused
from headrace.events.base import Digest, Name
from headrace.learning.plan import Plan
from headrace.learning.state import State

MODEL_FILE: Final = "model.river.json"
START_FILE: Final = "replay/start.json"
EXAMPLES_FILE: Final = "replay/examples.npz"
MAX_WIDTH: Final = 100_000
SCHEMA: Final = "headrace.river-model/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Tensor(_Part):
    """An input as the Open Inference Protocol names it; the first dimension is rows."""

    name: Name
    datatype: str
    shape: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if min(self.shape[1:], default=1) < 1 or self.width > MAX_WIDTH:
            raise ValueError(f"shape: expected 1 to {MAX_WIDTH} values a row, got {self.shape}")
        return self

    @property
    def width(self) -> int:
        """Values a row."""
        return prod(self.shape[1:])

    @property
    def columns(self) -> list[str]:
        """Names of the features in it, in their order."""
        if self.width == 1:
            return [self.name]
        return [f"{self.name}[{at}]" for at in range(self.width)]


class Offsets(_Part):
    """A span of one partition: behind `after`, which is None at the beginning, to `through`."""

    partition: int
    after: int | None
    through: int

    @property
    def first(self) -> int:
        """The first offset that may be in it."""
        return 0 if self.after is None else self.after + 1


class Parent(_Part):
    """The version that this one went on from."""

    version: int
    digest: Digest


class Lineage(_Part):
    """Everything that must be known to make this snapshot again.

    `labels` are all labels that were looked at, `predictions` span those that were joined.
    """

    learner: Name
    generation: int
    number: int
    model: Name = Field(description="Whose predictions and labels were learned from")
    label_topic: str
    labels: tuple[Offsets, ...]
    prediction_topic: str
    predictions: tuple[Offsets, ...]
    learned_before: int
    start_digest: Digest
    parent: Parent | None
    river: str


class Document(_Part):
    """The whole file."""

    schema_: Literal["headrace.river-model/1"] = Field(default=SCHEMA, alias="schema")
    plan: Plan
    inputs: tuple[Tensor, ...]
    state: State
    digest: Digest = Field(description="Of plan and state")
    lineage: Lineage

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if len(self.state.weights) != len(self.plan.features):
            raise ValueError(
                f"{len(self.plan.features)} features, {len(self.state.weights)} weights"
            )
        if self.plan.scale != (self.state.scaler is not None):
            raise ValueError("plan and state differ in whether features are scaled")
        known = {column for tensor in self.inputs for column in tensor.columns}
        missing = [name for name in self.plan.features if name not in known]
        if missing:
            raise ValueError(f"feature {missing[0]!r} is in no input")
        if self.state.digest(self.plan) != self.digest:
            raise ValueError("the digest is not that of plan and state")
        return self


def encode_document(document: Document) -> bytes:
    """As JSON, without loss."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(document.model_dump(mode="python", by_alias=True), option=options)


def decode_document(data: bytes) -> Document:
    """The opposite. Raises Refused: another schema, damaged, or parts that do not fit."""
    try:
        return Document.model_validate(orjson.loads(data))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)[:3]
        )
        raise Refused(f"not a {SCHEMA} document: {faults}") from error
    except orjson.JSONDecodeError as error:
        raise Refused(f"not a {SCHEMA} document: {error}") from error
