"""From micro-batches of the log back to the requests that they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged, Tensor
from services.serving.documents.outputs import output_document, written
from services.serving.worker.tensors import split_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """One request of a record, and its answer; `first_row` is more than 0 for a later part.

    `inputs` and `outputs` are tensors in the JSON form of the Open Inference Protocol. Where the
    model failed, `error` is the status code and there is no answer.
    """

    model: str
    version: int
    request_id: str
    first_row: int
    happened_at: datetime
    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]
    error: str

    @property
    def id(self) -> str:
        """Of the request; of its part, where it was logged in several."""
        return f"{self.request_id}/{self.first_row}" if self.first_row else self.request_id

    @property
    def request(self) -> bytes:
        """The request as its document; what was redacted is missing."""
        return written({"id": self.request_id, "inputs": self.inputs})

    @property
    def response(self) -> bytes:
        """The answer as its document."""
        return written(
            {
                "model_name": self.model,
                "model_version": str(self.version),
                "id": self.request_id,
                "outputs": self.outputs,
            }
        )


def requests_of(record: PredictionLogged) -> Iterator[Logged]:
    """The requests of a record in order. Raises ValueError where it is not what it says."""
    ids = [identity.rpartition("/") for identity in record.prediction_ids]
    starts, runs = [], []
    at = 0
    for request_id, run in groupby(ids, key=lambda parts: parts[0]):
        rows = list(run)
        starts.append(at)
        runs.append((request_id, int(rows[0][2] or 0), len(rows)))
        at += len(rows)
    counts = [count for _, _, count in runs]
    inputs = [_pieces(tensor, starts, counts) for tensor in record.inputs]
    outputs = [_pieces(tensor, starts, counts) for tensor in record.outputs]
    for place, (request_id, first_row, _) in enumerate(runs):
        yield Logged(
            model=record.model,
            version=record.version,
            request_id=request_id,
            first_row=first_row,
            happened_at=moment(record.event_times_us[starts[place]]),
            inputs=[pieces[place] for pieces in inputs],
            outputs=[pieces[place] for pieces in outputs],
            error=record.error,
        )


def moment(microseconds: int) -> datetime:
    """A time of the log."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _pieces(tensor: Tensor, starts: Sequence[int], counts: Sequence[int]) -> list[dict[str, Any]]:
    shape = list(tensor.shape)
    raws = split_rows(tensor.datatype, shape, tensor.data, starts)
    return [
        output_document(tensor.name, tensor.datatype, [count, *shape[1:]], raw)
        for raw, count in zip(raws, counts, strict=True)
    ]
