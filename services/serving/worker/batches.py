"""From answered requests to columnar micro-batches: one record a model version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged
from services.serving.worker.prediction_log import Answered
from services.serving.worker.tensors import split_rows

MAX_ROWS: Final = 4096
MAX_BYTES: Final = 512 * 1024
"""Of one record; the producer's batches end at 1 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One record of the log, and what it takes from the buffer."""

    data: bytes
    rows: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipment:
    """Records ready to ship, and the rows that no record can hold."""

    batches: Sequence[Batch]
    lost_rows: int
    lost_bytes: int


def pack(entries: Sequence[Answered], *, project: str, now_us: int, dropped_rows: int) -> Shipment:
    """Entries as records, each of one model version and one set of row shapes, order kept."""
    groups: dict[object, list[Answered]] = defaultdict(list)
    lost_rows = lost_bytes = 0
    for entry in entries:
        for piece in _pieces(entry):
            if piece.weight > MAX_BYTES:
                lost_rows += piece.rows
                lost_bytes += piece.size
            else:
                groups[_group(piece)].append(piece)
    batches = [
        Batch(
            data=_record(chunk, project, now_us, dropped_rows + lost_rows).SerializeToString(),
            rows=sum(entry.rows for entry in chunk),
            size=sum(entry.size for entry in chunk),
        )
        for group in groups.values()
        for chunk in _chunks(group)
    ]
    return Shipment(batches=batches, lost_rows=lost_rows, lost_bytes=lost_bytes)


def _group(entry: Answered) -> object:
    shapes = tuple(shape[1:] for shape in (*entry.input_shapes, *entry.output_shapes))
    routed = entry.table_version, entry.propensity, entry.arm
    return entry.model.name, entry.model.version, shapes, routed


def _pieces(entry: Answered) -> Iterator[Answered]:
    """The request, or halves of it until each fits a record or is a single row."""
    if entry.rows == 1 or (entry.weight <= MAX_BYTES and entry.rows <= MAX_ROWS):
        yield entry
        return
    for half in _halves(entry):
        yield from _pieces(half)


def _halves(entry: Answered) -> Iterator[Answered]:
    middle = entry.rows // 2
    inputs = _cut(
        entry.inputs, [spec.datatype for spec in entry.model.inputs], entry.input_shapes, middle
    )
    logged = [entry.model.outputs[place].datatype for place in entry.model.logged_outputs]
    outputs = _cut(entry.outputs, logged, entry.output_shapes, middle)
    for place, (start, end) in enumerate(((0, middle), (middle, entry.rows))):
        yield replace(
            entry,
            rows=end - start,
            first_row=entry.first_row + start,
            inputs=inputs[place],
            outputs=outputs[place],
            input_shapes=[(end - start, *shape[1:]) for shape in entry.input_shapes],
            output_shapes=[(end - start, *shape[1:]) for shape in entry.output_shapes],
        )


def _cut(
    raws: Sequence[bytes],
    datatypes: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    middle: int,
) -> list[list[bytes]]:
    """Every tensor cut at row `middle`: the upper parts, the lower parts."""
    columns = [
        split_rows(datatype, shape, raw, [0, middle])
        for raw, datatype, shape in zip(raws, datatypes, shapes, strict=True)
    ]
    return [[column[place] for column in columns] for place in range(2)]


def _chunks(entries: Sequence[Answered]) -> Iterator[list[Answered]]:
    """Runs of entries that fit one record."""
    chunk: list[Answered] = []
    rows = weight = 0
    for entry in entries:
        if chunk and (rows + entry.rows > MAX_ROWS or weight + entry.weight > MAX_BYTES):
            yield chunk
            chunk, rows, weight = [], 0, 0
        chunk.append(entry)
        rows += entry.rows
        weight += entry.weight
    if chunk:
        yield chunk


def _record(
    entries: Sequence[Answered], project: str, now_us: int, dropped_rows: int
) -> PredictionLogged:
    model = entries[0].model
    rows = sum(entry.rows for entry in entries)
    record = PredictionLogged(
        project=project,
        model=model.name,
        version=model.version,
        prediction_ids=[
            f"{entry.request_id}/{row}"
            for entry in entries
            for row in range(entry.first_row, entry.first_row + entry.rows)
        ],
        event_times_us=[time for entry in entries for time in (entry.event_time_us,) * entry.rows],
        logged_at_us=now_us,
        dropped_rows=dropped_rows,
        table_version=entries[0].table_version,
        propensity=entries[0].propensity,
        arm=entries[0].arm,
        experiment=entries[0].experiment,
    )
    for place, spec in enumerate(model.inputs):
        record.inputs.add(
            name=spec.name,
            datatype=spec.datatype,
            shape=(rows, *entries[0].input_shapes[place][1:]),
            data=b"".join(entry.inputs[place] for entry in entries),
        )
    for column, place in enumerate(model.logged_outputs):
        record.outputs.add(
            name=model.outputs[place].name,
            datatype=model.outputs[place].datatype,
            shape=(rows, *entries[0].output_shapes[column][1:]),
            data=b"".join(entry.outputs[column] for entry in entries),
        )
    return record
