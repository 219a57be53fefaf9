"""Columnar micro-batches hold every row exactly once, in order, unchanged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged
from services.serving.worker import batches
from services.serving.worker.answered import Answered
from services.serving.worker.batches import pack
from services.serving.worker.model import Model, TensorSpec
from services.serving.worker.tensors import Array, decode, encode_strings


class _Declared:
    """A runtime that is only asked for its tensors."""

    platform = "none"
    inputs = (
        TensorSpec(name="word", datatype="BYTES", shape=(-1, 1)),
        TensorSpec(name="x", datatype="FP32", shape=(-1, -1)),
    )
    outputs = (
        TensorSpec(name="scalar", datatype="FP32", shape=()),
        TensorSpec(name="y", datatype="INT64", shape=(-1,)),
    )

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        raise NotImplementedError


MODELS = {
    (name, version): Model(name=name, version=version, runtime=_Declared(), logged_outputs=[1])
    for name in "ab"
    for version in (1, 2)
}
Row = tuple[str, str, int, tuple[float, ...]]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Answered, list[Row]]:
    """Requests answered together, and their rows as (id, word, y, x)."""
    model = MODELS[draw(st.sampled_from("ab")), draw(st.sampled_from([1, 2]))]
    each = draw(st.integers(1, 4))
    identities = [
        one.hex for one in draw(st.lists(st.uuids(), min_size=1, max_size=4, unique=True))
    ]
    rows = each * len(identities)
    width = draw(st.integers(1, 2))
    words = draw(st.lists(st.text(max_size=8), min_size=rows, max_size=rows))
    x = np.arange(rows * width, dtype="<f4").reshape(rows, width)
    y = np.arange(rows, dtype="<i8") * 3
    entry = Answered(
        model=model,
        request_ids=identities,
        event_times_us=[draw(st.integers(0, 2**62)) for _ in identities],
        rows=rows,
        inputs=[encode_strings(words), x.tobytes()],
        outputs=[y.tobytes()],
        input_shapes=[(rows, 1), (rows, width)],
        output_shapes=[(rows,)],
    )
    expected = [
        (f"{identities[row // each]}/{row % each}", words[row], int(y[row]), tuple(x[row].tolist()))
        for row in range(rows)
    ]
    return entry, expected


def _rows(record: PredictionLogged) -> list[Row]:
    columns = {
        tensor.name: decode(tensor.datatype, tuple(tensor.shape), tensor.data)
        for tensor in (*record.inputs, *record.outputs)
    }
    return [
        (
            prediction,
            columns["word"][row, 0],
            int(columns["y"][row]),
            tuple(columns["x"][row].tolist()),
        )
        for row, prediction in enumerate(record.prediction_ids)
    ]


@settings(max_examples=200)
@given(st.lists(answers(), max_size=12), st.integers(1, 20), st.integers(100, 4000))
def test_every_row_is_logged_once_in_order_or_counted_as_lost(
    made: list[tuple[Answered, list[Row]]], max_rows: int, max_bytes: int
) -> None:
    with patch.multiple(batches, MAX_ROWS=max_rows, MAX_BYTES=max_bytes):
        shipment = pack([entry for entry, _ in made], project="p", now_us=7, dropped_rows=5)
    logged: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for batch in shipment.batches:
        record = PredictionLogged.FromString(batch.data)
        rows = _rows(record)
        assert 1 <= len(rows) == batch.rows <= max_rows
        assert sum(map(len, record.prediction_ids)) + batch.size <= max_bytes
        assert len(record.event_times_us) == len(rows)
        assert record.dropped_rows == 5 + shipment.lost_rows
        logged[record.model, record.version, record.inputs[1].shape[1]] += rows
    wanted: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for entry, rows in made:
        wanted[entry.model.name, entry.model.version, entry.input_shapes[1][1]] += rows
    total = sum(len(rows) for rows in wanted.values())
    assert total == sum(batch.rows for batch in shipment.batches) + shipment.lost_rows
    for key, rows in wanted.items():
        kept = set(logged[key])
        assert logged[key] == [row for row in rows if row in kept]
    sizes = sum(batch.size for batch in shipment.batches) + shipment.lost_bytes
    assert sizes == sum(entry.size for entry, _ in made)


@given(answers())
def test_event_time_is_that_of_the_request(made: tuple[Answered, list[Row]]) -> None:
    entry, _ = made
    (batch,) = pack([entry], project="p", now_us=7, dropped_rows=0).batches
    record = PredictionLogged.FromString(batch.data)
    times = dict(zip(entry.request_ids, entry.event_times_us, strict=True))
    assert list(record.event_times_us) == [
        times[identity.partition("/")[0]] for identity in record.prediction_ids
    ]
    assert (record.project, record.logged_at_us) == ("p", 7)
