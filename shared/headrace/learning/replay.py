"""Making a snapshot again from the state that it went on from and what it learned since then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InvalidInput, NotFound, Refused
from headrace.learning.document import (
    EXAMPLES_FILE,
    MODEL_FILE,
    START_FILE,
    Document,
    decode_document,
)
from headrace.learning.estimator import Estimator, river_version
from headrace.learning.examples import Examples, decode_examples
from headrace.learning.plan import Plan
from headrace.learning.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """A label's place in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What came out; `expected` is what the snapshot says of itself, if it was replayed whole."""

    learned: int
    digest: str
    expected: str | None
    river: str
    recorded_river: str

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the snapshot."""
        return self.expected is None or self.expected == self.digest


def replay(folder: Path, *, to: Position | None = None) -> Replayed:
    """Learn a snapshot's examples again, as far as a label's offset or to the end.

    Raises NotFound where a file is missing, Refused where one is not what it should be, and
    InvalidInput for an offset that is not among the snapshot's.
    """
    document = decode_document(_read(folder, MODEL_FILE))
    start = State.decode(_read(folder, START_FILE))
    if start.digest(document.plan) != document.lineage.start_digest:
        raise Refused(f"{START_FILE} is not the state that the snapshot says it went on from")
    examples = decode_examples(_read(folder, EXAMPLES_FILE))
    count = len(examples) if to is None else _count(document, examples, to)
    state = learn(document.plan, start, examples, count=count)
    return Replayed(
        learned=state.learned,
        digest=state.digest(document.plan),
        expected=document.digest if count == len(examples) else None,
        river=river_version(),
        recorded_river=document.lineage.river,
    )


def learn(plan: Plan, start: State, examples: Examples, *, count: int) -> State:
    """The state after the first `count` examples. Raises Diverged."""
    estimator = Estimator(plan, start)
    rows, labels = examples.features[:count].tolist(), examples.labels[:count].tolist()
    for row, label in zip(rows, labels, strict=True):
        estimator.learn(row, label)
    return estimator.state


def _count(document: Document, examples: Examples, to: Position) -> int:
    """How many examples were learned when that label had been looked at."""
    spans = {span.partition: span for span in document.lineage.labels}
    span = spans.get(to.partition)
    if span is None or not span.first <= to.offset <= span.through:
        known = ", ".join(
            f"{each.partition}: {each.first} to {each.through}" for each in document.lineage.labels
        )
        raise InvalidInput(
            f"offset: {to.offset} of partition {to.partition} is not in the snapshot ({known})",
            field="offset",
        )
    behind = (examples.label_partitions == to.partition) & (examples.label_offsets > to.offset)
    return int(behind.argmax()) if behind.any() else len(examples)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise NotFound(
            f"{folder / name}: {error.strerror}; download all files of the version"
        ) from error
