"""What of the answers is logged: a share by rule, flagged ones always, redacted by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged
from services.serving.link.messages import Bounds, LogRules
from services.serving.worker.answered import Answered
from services.serving.worker.batches import pack
from services.serving.worker.flags import flags_of
from services.serving.worker.log_rules import Rules
from services.serving.worker.model import Model, load
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.routing.buckets import shadows_of
from services.serving.worker.tensors import decode_strings, encode_strings
from tests.harness import onnx_models

REQUESTS = 4000


@pytest.fixture
def model(tmp_path: Path) -> Model:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_models.flights())
    return load(path, name="flights", version=1)


def answered(model: Model, request_id: str, carriers: tuple[str, ...] = ("UA",)) -> Answered:
    rows = len(carriers)
    score = np.arange(rows, dtype=np.float32).tobytes()
    echo = encode_strings(carriers)
    outputs = {"score": score, "echo": echo}
    return Answered(
        model=model,
        request_ids=[request_id],
        event_times_us=[1],
        rows=rows,
        inputs=[encode_strings(carriers), score],
        outputs=[outputs[model.outputs[place].name] for place in model.logged_outputs],
        input_shapes=[(rows, 1), (rows, 1)],
        output_shapes=[(rows, 1) for _ in model.logged_outputs],
    )


def log_with(**rules: LogRules) -> PredictionLog:
    log = PredictionLog(
        max_rows=10**6,
        max_bytes=2**30,
        ship_rows=2**30,
        full=lambda: None,
        rules=Rules(hash_key="secret"),
    )
    log.rules.replace(rules)
    return log


def packed(log: PredictionLog) -> list[PredictionLogged]:
    shipment = pack(
        log.take(),
        project="default",
        now_us=2,
        dropped_rows=log.dropped_rows,
        rules=log.rules,
        sampled_out=log.sampled_out,
    )
    return [PredictionLogged.FromString(batch.data) for batch in shipment.batches]


def test_a_share_of_the_requests_is_logged_and_the_rest_counted_apart(model: Model) -> None:
    log = log_with(flights=LogRules(rate=0.25))
    for number in range(REQUESTS):
        log.add([answered(model, f"r{number}")])

    records = packed(log)
    logged = sum(len(record.prediction_ids) for record in records)
    assert abs(logged / REQUESTS - 0.25) < 0.03
    assert logged + log.sampled_out["flights"] == REQUESTS
    assert log.dropped_rows == 0
    assert {record.sampling_rate for record in records} == {0.25}
    assert {record.sampled_out_rows for record in records} == {log.sampled_out["flights"]}


def test_workers_agree_on_which_requests_are_logged(model: Model) -> None:
    logs = [log_with(flights=LogRules(rate=0.5)) for _ in range(2)]
    for log in logs:
        for number in range(100):
            log.add([answered(model, f"r{number}")])

    first, second = ([entry.request_ids for entry in log.take()] for log in logs)
    assert first == second


def test_each_request_of_a_run_is_sampled_by_itself(model: Model) -> None:
    alone, together = log_with(flights=LogRules(rate=0.5)), log_with(flights=LogRules(rate=0.5))
    entries = [answered(model, f"r{number}", (f"c{number}", "DL")) for number in range(50)]
    for entry in entries:
        alone.add([entry])
    together.add([_joined(entries)])

    apart = [identity for record in packed(alone) for identity in record.prediction_ids]
    (record,) = packed(together)
    assert list(record.prediction_ids) == apart
    assert together.sampled_out == alone.sampled_out
    shown = decode_strings(record.inputs[0].data, len(apart))
    kept = [identity.partition("/")[0][1:] for identity in apart[::2]]
    assert shown[::2] == [f"c{number}" for number in kept]


def _joined(entries: list[Answered]) -> Answered:
    first = entries[0]
    rows = sum(entry.rows for entry in entries)
    return replace(
        first,
        request_ids=[entry.request_ids[0] for entry in entries],
        event_times_us=[1] * len(entries),
        rows=rows,
        inputs=[b"".join(column) for column in zip(*(e.inputs for e in entries), strict=True)],
        outputs=[b"".join(column) for column in zip(*(e.outputs for e in entries), strict=True)],
        input_shapes=[(rows, *shape[1:]) for shape in first.input_shapes],
        output_shapes=[(rows, *shape[1:]) for shape in first.output_shapes],
    )


def test_what_has_a_flag_is_logged_at_any_rate_and_kept_apart(model: Model) -> None:
    log = log_with(flights=LogRules(rate=0.5, always=frozenset({"canary"})))
    for number in range(40):
        log.add([replace(answered(model, f"c{number}"), flag="canary")])
        log.add([replace(answered(model, f"s{number}"), flag="shadow")])

    by_rate = {record.sampling_rate: list(record.prediction_ids) for record in packed(log)}
    assert by_rate[1.0] == [f"c{number}/0" for number in range(40)]
    assert 0 < len(by_rate[0.5]) < 40
    assert all(identity.startswith("s") for identity in by_rate[0.5])


def test_what_a_shadow_predicts_too_is_logged_at_any_rate(model: Model) -> None:
    log = log_with(flights=LogRules(rate=0, always=frozenset({"shadow"})))
    requests = [f"r{number}" for number in range(200)]
    for request_id in requests:
        log.add([replace(answered(model, request_id), shadows=[(model, 5_000)])])

    logged = [entry.request_ids[0] for entry in log.take()]
    assert logged == [name for name in requests if shadows_of(name, [(model, 5_000)])]
    assert 60 < len(logged) < 140


def test_a_request_with_a_value_beyond_its_bounds_is_logged_at_any_rate(model: Model) -> None:
    """`score` is 0 in the first row of each request, 1 in the second."""
    rules = {"outlier": {"score": {"max": 0.5}, "carrier": {"max": 0}, "unknown": {"min": 1}}}
    log = log_with(flights=LogRules.model_validate({"rate": 0, "always": ["outlier"], **rules}))
    log.add([answered(model, "usual"), answered(model, "beyond", ("UA", "DL"))])

    assert [(entry.request_ids, entry.sampling_rate) for entry in log.take()] == [(["beyond"], 1)]
    assert log.sampled_out == {"flights": 1}


@pytest.mark.parametrize("value", [-1.0, 2.0, float("nan"), float("-inf")])
def test_numbers_that_are_none_are_beyond_any_bounds(model: Model, value: float) -> None:
    data = np.array([value], np.float32).tobytes()
    request = replace(answered(model, "r"), inputs=[encode_strings(["UA"]), data])
    usual = {"distance": Bounds(min=0, max=1)}

    assert list(flags_of(request, usual)) == ["outlier"]
    assert list(flags_of(answered(model, "r"), usual)) == []


@pytest.mark.parametrize("bounds", [{}, {"mx": 1}, {"min": 2, "max": 1}])
def test_bounds_that_bound_nothing_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="min, max or both"):
        Bounds.model_validate(bounds)


def test_models_without_rules_are_logged_whole(model: Model) -> None:
    log = log_with(another=LogRules(rate=0))
    log.add([answered(model, "r")])
    (record,) = packed(log)
    assert (record.sampling_rate, record.sampled_out_rows) == (1.0, 0)
    assert {tensor.name for tensor in record.inputs} == {"carrier", "distance"}


def test_a_dropped_tensor_is_nowhere_in_the_record(model: Model) -> None:
    log = log_with(flights=LogRules(redact={"carrier": "drop", "echo": "drop"}))
    log.add([answered(model, "r", ("a secret carrier",))])
    (record,) = packed(log)
    assert [tensor.name for tensor in record.inputs] == ["distance"]
    assert set(record.dropped_tensors) >= {"carrier"}
    assert b"a secret carrier" not in record.SerializeToString()


def test_a_hashed_tensor_tells_equal_rows_and_nothing_else(model: Model) -> None:
    rules = LogRules(redact={"carrier": "hash", "echo": "hash"})
    log = log_with(flights=rules)
    log.add([answered(model, "r", ("one", "two", "one"))])
    (record,) = packed(log)
    (carrier,) = [tensor for tensor in record.inputs if tensor.name == "carrier"]
    first, second, third = decode_strings(carrier.data, 3)
    assert (carrier.datatype, list(carrier.shape), carrier.hashed) == ("BYTES", [3, 1], True)
    assert first == third != second
    assert len(first) == 32
    assert b"one" not in record.SerializeToString()
    another = Rules(hash_key="another")
    assert another.hashed("BYTES", (1, 1), encode_strings(["one"])) != encode_strings([first])
