"""What is logged of requests that were not answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged
from services.serving.link.messages import LogRules
from services.serving.worker.batches import pack
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.calls import NOTHING_BESIDE
from services.serving.worker.failure import Code, Failure
from tests.harness.callers import one_row
from tests.harness.data_plane import DataPlane, data_plane
from tests.harness.gated_model import GatedSession, gated

MODEL = "gated"


@pytest.fixture
def plane(tmp_path: Path) -> DataPlane:
    """A model that fails where a value is negative."""
    session = GatedSession()
    session.go.set()
    made = data_plane(tmp_path, limits=LaneLimits(quick_ns=0))
    made.answer_with({MODEL: gated(session)})
    return made


def code_of(plane: DataPlane, payload: bytes) -> Code:
    with pytest.raises(Failure) as ended:
        plane.inference.infer(payload, NOTHING_BESIDE)
    return ended.value.code


def records(plane: DataPlane) -> list[PredictionLogged]:
    shipment = pack(
        plane.log.take(), project="default", now_us=2, dropped_rows=0, rules=plane.log.rules
    )
    return [PredictionLogged.FromString(batch.data) for batch in shipment.batches]


def test_a_request_that_the_model_failed_on_is_logged_with_its_inputs_and_the_code(
    plane: DataPlane,
) -> None:
    assert code_of(plane, one_row(MODEL, [-1.0])) is Code.INTERNAL
    (record,) = records(plane)

    assert (record.model, record.version, record.error) == (MODEL, 1, "INTERNAL")
    assert len(record.prediction_ids) == 1
    assert np.frombuffer(record.inputs[0].data, np.float32) == -1.0
    assert list(record.outputs) == []


def test_answers_and_failures_are_in_records_of_their_own(plane: DataPlane) -> None:
    plane.inference.infer(one_row(MODEL, [1.0]), NOTHING_BESIDE)
    code_of(plane, one_row(MODEL, [-1.0]))
    plane.inference.infer(one_row(MODEL, [2.0]), NOTHING_BESIDE)

    assert {record.error: len(record.prediction_ids) for record in records(plane)} == {
        "": 2,
        "INTERNAL": 1,
    }


def test_a_request_that_is_wrong_is_not_logged(plane: DataPlane) -> None:
    assert code_of(plane, one_row(MODEL, [1.0, 2.0])) is Code.INVALID_ARGUMENT
    assert records(plane) == []


def test_failures_are_logged_at_any_rate_unless_the_rules_say_otherwise(plane: DataPlane) -> None:
    plane.log.rules.replace({MODEL: LogRules(rate=0, always=frozenset({"error"}))})
    plane.inference.infer(one_row(MODEL, [1.0]), NOTHING_BESIDE)
    code_of(plane, one_row(MODEL, [-1.0]))
    assert [(record.error, record.sampling_rate) for record in records(plane)] == [("INTERNAL", 1)]

    plane.log.rules.replace({MODEL: LogRules(rate=0, always=frozenset())})
    code_of(plane, one_row(MODEL, [-1.0]))
    assert records(plane) == []


def test_the_log_holds_as_many_failures_as_the_statistics_count(plane: DataPlane) -> None:
    for value in (1.0, -1.0, 2.0, -2.0, 3.0):
        if value > 0:
            plane.inference.infer(one_row(MODEL, [value]), NOTHING_BESIDE)
        else:
            code_of(plane, one_row(MODEL, [value]))
    (counted,) = plane.statistics.all()
    logged = {record.error: len(record.prediction_ids) for record in records(plane)}

    assert logged == {"": counted.inferences, "INTERNAL": counted.failures[Code.INTERNAL]}
