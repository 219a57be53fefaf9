"""What a run answered, as the prediction log keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from services.serving.link.messages import Flag
from services.serving.worker.model import Model
from services.serving.worker.tensors import split_rows

_ROW_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Requests that were answered together: their raw tensors end to end, in the model's order.

    They agree in all but ids, times and data; each has `rows / len(request_ids)` of the `rows`,
    which lead the shapes. `outputs` are those of `model.logged_outputs`. `first_row` is where a
    part of a single request begins. `flag` is one of `link.messages.Flag`, if any; `shadows` are
    versions that run beside a share of them; `sampling_rate` is noted by the log. Where the model
    failed, `error` is the status code, and there are no outputs.
    """

    model: Model
    request_ids: Sequence[str]
    event_times_us: Sequence[int]
    rows: int
    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    input_shapes: Sequence[tuple[int, ...]]
    output_shapes: Sequence[tuple[int, ...]]
    first_row: int = 0
    flag: Flag | Literal[""] = ""
    shadows: Sequence[tuple[Model, int]] = ()
    sampling_rate: float = 1.0
    table_version: int = 0
    propensity: float = 1.0
    arm: str = ""
    experiment: str = ""
    error: str = ""

    @property
    def logged_outputs(self) -> Sequence[int]:
        """Places of the outputs among the model's."""
        return () if self.error else self.model.logged_outputs

    @property
    def rows_each(self) -> int:
        """Rows of every request."""
        return self.rows // len(self.request_ids)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(map(len, self.inputs)) + sum(map(len, self.outputs))

    @property
    def weight(self) -> int:
        """Bytes in a record, at most: tensors, and an id and a time for each row."""
        ids = len("".join(self.request_ids).encode())
        return self.size + self.rows_each * ids + self.rows * _ROW_BYTES

    @property
    def prediction_ids(self) -> list[str]:
        """`request/row` of every row."""
        each = self.rows_each
        if each == 1:
            return [f"{identity}/{self.first_row}" for identity in self.request_ids]
        rows = range(self.first_row, self.first_row + each)
        return [f"{identity}/{row}" for identity in self.request_ids for row in rows]

    @property
    def row_times_us(self) -> Sequence[int]:
        """The event time of every row."""
        each = self.rows_each
        if each == 1:
            return self.event_times_us
        return [time for time in self.event_times_us for _ in range(each)]


def split_requests(entry: Answered) -> Iterator[Answered]:
    """Each request of it alone."""
    count = len(entry.request_ids)
    if count == 1:
        yield entry
        return
    yield from _cut(entry, [entry.rows_each * number for number in range(count)])


def halve(entry: Answered) -> Iterator[Answered]:
    """Half of its requests and the others, or half of its rows and the others if it is one."""
    count = len(entry.request_ids)
    middle = count // 2 * entry.rows_each if count > 1 else entry.rows // 2
    yield from _cut(entry, [0, middle])


def _cut(entry: Answered, starts: Sequence[int]) -> Iterator[Answered]:
    """Parts that begin at these rows: whole requests, or rows of a single one."""
    model, each = entry.model, entry.rows_each
    inputs = _columns(
        entry.inputs, [spec.datatype for spec in model.inputs], entry.input_shapes, starts
    )
    logged = [model.outputs[place].datatype for place in entry.logged_outputs]
    outputs = _columns(entry.outputs, logged, entry.output_shapes, starts)
    alone = len(entry.request_ids) == 1
    for place, (start, end) in enumerate(zip(starts, [*starts[1:], entry.rows], strict=True)):
        which = slice(None) if alone else slice(start // each, end // each)
        yield replace(
            entry,
            request_ids=entry.request_ids[which],
            event_times_us=entry.event_times_us[which],
            rows=end - start,
            first_row=entry.first_row + start if alone else 0,
            inputs=[column[place] for column in inputs],
            outputs=[column[place] for column in outputs],
            input_shapes=[(end - start, *shape[1:]) for shape in entry.input_shapes],
            output_shapes=[(end - start, *shape[1:]) for shape in entry.output_shapes],
        )


def _columns(
    raws: Sequence[bytes],
    datatypes: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    starts: Sequence[int],
) -> list[list[bytes]]:
    """Every tensor cut at these rows, as `[tensor][part]`."""
    return [
        split_rows(datatype, shape, raw, starts)
        for raw, datatype, shape in zip(raws, datatypes, shapes, strict=True)
    ]
