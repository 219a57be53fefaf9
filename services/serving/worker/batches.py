"""From answered requests to columnar micro-batches: one record a model version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged
from headrace.rpc.serving.v1.prediction_log_pb2 import Tensor as PredictionTensor
from services.serving.worker.answered import Answered, halve
from services.serving.worker.log_rules import Rules
from services.serving.worker.tensors import BYTES

MAX_ROWS: Final = 4096
MAX_BYTES: Final = 512 * 1024
"""Of one record; the producer's batches end at 1 MiB."""
_NONE: Final[Mapping[str, int]] = {}


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


def pack(
    entries: Sequence[Answered],
    *,
    project: str,
    now_us: int,
    dropped_rows: int,
    rules: Rules | None = None,
    sampled_out: Mapping[str, int] = _NONE,
) -> Shipment:
    """Entries as records, each of one model version and one set of row shapes, order kept.

    What the rules redact never leaves this process.
    """
    writer = _Writer(
        project=project,
        now_us=now_us,
        rules=rules or Rules(),
        sampled_out=sampled_out,
    )
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
            data=writer.record(chunk, dropped_rows + lost_rows).SerializeToString(),
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
    return entry.model.name, entry.model.version, entry.sampling_rate, shapes, routed, entry.error


def _pieces(entry: Answered) -> Iterator[Answered]:
    """The entry, or halves of it until each fits a record or is a single row."""
    if entry.rows == 1 or (entry.weight <= MAX_BYTES and entry.rows <= MAX_ROWS):
        yield entry
        return
    for half in halve(entry):
        yield from _pieces(half)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Writer:
    """Makes records; the rules say which tensors are left out or hashed."""

    project: str
    now_us: int
    rules: Rules
    sampled_out: Mapping[str, int]

    def record(self, entries: Sequence[Answered], dropped_rows: int) -> PredictionLogged:
        model = entries[0].model
        record = PredictionLogged(
            project=self.project,
            model=model.name,
            version=model.version,
            prediction_ids=[identity for entry in entries for identity in entry.prediction_ids],
            event_times_us=[time for entry in entries for time in entry.row_times_us],
            logged_at_us=self.now_us,
            dropped_rows=dropped_rows,
            sampling_rate=entries[0].sampling_rate,
            sampled_out_rows=self.sampled_out.get(model.name, 0),
            table_version=entries[0].table_version,
            propensity=entries[0].propensity,
            arm=entries[0].arm,
            experiment=entries[0].experiment,
            error=entries[0].error,
        )
        self._add_tensors(record, entries)
        return record

    def _add_tensors(self, record: PredictionLogged, entries: Sequence[Answered]) -> None:
        model, first = entries[0].model, entries[0]
        rows = len(record.prediction_ids)
        for place, spec in enumerate(model.inputs):
            data = b"".join(entry.inputs[place] for entry in entries)
            tensor = PredictionTensor(
                name=spec.name,
                datatype=spec.datatype,
                shape=(rows, *first.input_shapes[place][1:]),
                data=data,
            )
            self._add(record, record.inputs, tensor)
        for column, place in enumerate(first.logged_outputs):
            data = b"".join(entry.outputs[column] for entry in entries)
            tensor = PredictionTensor(
                name=model.outputs[place].name,
                datatype=model.outputs[place].datatype,
                shape=(rows, *first.output_shapes[column][1:]),
                data=data,
            )
            self._add(record, record.outputs, tensor)

    def _add(self, record: PredictionLogged, target: Any, tensor: PredictionTensor) -> None:
        match self.rules.of(record.model).redact.get(tensor.name):
            case None:
                target.append(tensor)
            case "drop":
                record.dropped_tensors.append(tensor.name)
            case "hash":
                shape = tuple(tensor.shape)
                target.add(
                    name=tensor.name,
                    datatype=BYTES,
                    shape=(shape[0], 1),
                    data=self.rules.hashed(tensor.datatype, shape, tensor.data),
                    hashed=True,
                )
            case other:
                assert_never(other)
