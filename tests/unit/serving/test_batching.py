"""Who shares a run, who waits, and who is told at once that waiting is in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.batching.cost import Cost
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.calls import NOTHING_BESIDE, Details, Reply
from services.serving.worker.failure import Code, Failure
from tests.harness import onnx_models
from tests.harness.callers import Answers, one_row
from tests.harness.data_plane import DataPlane, data_plane
from tests.harness.gated_model import GatedSession, gated


def _plane(tmp_path: Path, session: GatedSession, *, queue: int = 100) -> DataPlane:
    plane = data_plane(tmp_path, limits=LaneLimits(queue=queue, quick_ns=0))
    quick = plane.load("quick", 1, onnx_models.constant(1.0))
    plane.answer_with({"gated": gated(session), "quick": quick})
    return plane


def _hold(plane: DataPlane, session: GatedSession, answers: Answers) -> None:
    """Have one request, call 0 of value 0, in a run that does not end."""
    plane.inference.accept([answers.arrival(0, one_row("gated", [0]))])
    assert session.begun.acquire(timeout=20)


def _code(answer: Reply | Failure) -> Code:
    assert isinstance(answer, Failure)
    return answer.code


def test_requests_that_wait_while_a_model_runs_share_the_next_run(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    _hold(plane, session, answers)
    for call in range(1, 6):
        plane.inference.accept([answers.arrival(call, one_row("gated", [call]))])
    session.go.set()
    answers.wait(6)
    assert session.runs == [[0], [1, 2, 3, 4, 5]]


def test_slow_model_does_not_hold_up_another(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    plane.inference.accept(
        [
            answers.arrival(0, one_row("gated", [0])),
            answers.arrival(1, one_row("quick", [0, 0, 0, 0])),
        ]
    )
    assert isinstance(answers.wait(1)[1], Reply)
    session.go.set()
    answers.wait(2)


def test_full_queue_is_refused_at_once(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session, queue=2)
    _hold(plane, session, answers)
    plane.inference.accept([answers.arrival(call, one_row("gated", [call])) for call in (1, 2, 3)])
    refused = answers.wait(1)[3]
    assert _code(refused) is Code.RESOURCE_EXHAUSTED
    assert str(refused) == "Exceeds maximum queue size: 2 requests wait for model 'gated'"
    session.go.set()
    answers.wait(4)


@contextmanager
def _no_threads_left() -> Iterator[None]:
    """No system has room for such a stack."""
    before = threading.stack_size(2**46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_call_is_refused_while_there_can_be_no_thread_and_the_next_is_answered(
    tmp_path: Path,
) -> None:
    answers = Answers()
    plane = _plane(tmp_path, GatedSession())
    with _no_threads_left():
        plane.inference.accept([answers.arrival(0, one_row("quick", [0, 0, 0, 0]))])
    assert _code(answers.wait(1)[0]) is Code.RESOURCE_EXHAUSTED
    plane.inference.accept([answers.arrival(1, one_row("quick", [0, 0, 0, 0]))])
    assert isinstance(answers.wait(2)[1], Reply)


def test_higher_priority_runs_first_and_default_lies_between(tmp_path: Path) -> None:
    session, answers = GatedSession(rows=1), Answers()
    plane = _plane(tmp_path, session)
    _hold(plane, session, answers)
    for call, priority in ((10, 10), (5, 0), (1, 1), (4, 4), (7, 99)):
        payload = one_row("gated", [call], priority=priority)
        plane.inference.accept([answers.arrival(call, payload)])
    session.go.set()
    answers.wait(6)
    assert session.runs == [[0], [1], [4], [5], [7], [10]]


def test_model_of_fixed_rows_runs_one_request_at_a_time(tmp_path: Path) -> None:
    session, answers = GatedSession(rows=1), Answers()
    session.go.set()
    plane = _plane(tmp_path, session)
    plane.inference.accept([answers.arrival(call, one_row("gated", [call])) for call in range(3)])
    answers.wait(3)
    assert sorted(session.runs) == [[0], [1], [2]]


def test_request_whose_deadline_passes_in_the_queue_is_not_run(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    _hold(plane, session, answers)
    soon = Details(deadline=time.monotonic() + 0.05)
    plane.inference.accept([answers.arrival(1, one_row("gated", [1]), soon)])
    with pytest.raises(Failure) as failed:
        plane.inference.infer(one_row("gated", [2]), soon)
    assert failed.value.code is Code.DEADLINE_EXCEEDED
    session.go.set()
    assert _code(answers.wait(2)[1]) is Code.DEADLINE_EXCEEDED
    assert session.runs == [[0]]


def test_timeout_parameter_bounds_the_wait_for_a_turn(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    _hold(plane, session, answers)
    plane.inference.accept([answers.arrival(1, one_row("gated", [1], timeout_us=1))])
    session.go.set()
    late = answers.wait(2)[1]
    assert _code(late) is Code.DEADLINE_EXCEEDED
    assert str(late) == "Request timeout expired"


def test_request_that_the_queue_would_make_late_is_refused_at_once(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    lane_of = {lane.model.name: lane for lane in plane.inference.lanes()}
    assert not lane_of
    _hold(plane, session, answers)
    (lane,) = plane.inference.lanes()
    lane.cost.add(1, 60 * 10**9)
    in_a_second = Details(deadline=time.monotonic() + 1)
    plane.inference.accept([answers.arrival(1, one_row("gated", [1]), in_a_second)])
    assert _code(answers.wait(1)[1]) is Code.DEADLINE_EXCEEDED
    session.go.set()
    answers.wait(2)
    assert session.runs == [[0]]


def test_cancelled_request_is_not_run_and_counted_as_such(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    plane = _plane(tmp_path, session)
    _hold(plane, session, answers)
    arrival = answers.arrival(1, one_row("gated", [1]))
    plane.inference.accept([arrival])
    arrival.cancelled = True
    session.go.set()
    answers.wait(2)
    assert session.runs == [[0]]
    (counted,) = plane.statistics.of([("gated", 1)])
    assert counted.failures == {Code.CANCELLED: 1}
    assert counted.fail.count == 1


def test_request_that_breaks_a_run_fails_alone(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    session.go.set()
    plane = _plane(tmp_path, session)
    plane.inference.accept(
        [answers.arrival(call, one_row("gated", [value])) for call, value in enumerate((1, -1, 2))]
    )
    got = answers.wait(3)
    assert _code(got[1]) is Code.INTERNAL
    assert [call for call, answer in got.items() if isinstance(answer, Reply)] == [0, 2]


def test_invalid_request_among_others_fails_alone(tmp_path: Path) -> None:
    session, answers = GatedSession(), Answers()
    session.go.set()
    plane = _plane(tmp_path, session)
    plane.inference.accept(
        [
            answers.arrival(0, one_row("gated", [1])),
            answers.arrival(1, b"\xff"),
            answers.arrival(2, one_row("gated", [1, 2])),
            answers.arrival(3, one_row("gated", [2])),
        ]
    )
    got = answers.wait(4)
    assert _code(got[1]) is Code.INVALID_ARGUMENT
    assert _code(got[2]) is Code.INVALID_ARGUMENT
    assert session.runs == [[1, 2]]


def test_typed_contents_are_given_when_asked_for(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(2.5))})
    request = oip.ModelInferRequest.FromString(one_row("m", [0, 0, 0, 0]))
    request.parameters["typed_contents"].bool_param = True
    reply = plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    answer = oip.ModelInferResponse.FromString(reply.payload)
    assert list(answer.outputs[0].contents.fp32_contents) == [2.5]
    assert not answer.raw_output_contents


@pytest.mark.parametrize("name", ["priority", "timeout", "typed_contents"])
def test_parameter_of_another_type_is_refused(tmp_path: Path, name: str) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(2.5))})
    request = oip.ModelInferRequest.FromString(one_row("m", [0, 0, 0, 0]))
    request.parameters[name].string_param = "1"
    with pytest.raises(Failure, match=f"invalid value type for '{name}' parameter") as failed:
        plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    assert failed.value.code is Code.INVALID_ARGUMENT


def test_lenient_server_ignores_raw_entries_beyond_the_inputs(tmp_path: Path) -> None:
    plane = data_plane(tmp_path, lenient=True)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(2.5))})
    request = oip.ModelInferRequest.FromString(one_row("m", [0, 0, 0, 0]))
    request.raw_input_contents.append(b"more")
    assert plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE).payload


def test_cost_finds_base_and_slope() -> None:
    cost = Cost()
    for rows in (1, 2, 8, 3, 5) * 4:
        cost.add(rows, 1000 + 50 * rows)
    assert cost.estimate(100) == pytest.approx(6000)


def test_one_interrupted_run_does_not_make_a_model_slow() -> None:
    cost = Cost()
    for rows in (1, 2, 8, 3, 5) * 4:
        cost.add(rows, 1000 + 50 * rows)
    cost.add(1, 10**9)
    assert cost.estimate(1) < 2000


def test_model_that_became_slow_is_known_to_be_soon() -> None:
    cost = Cost()
    for ns in (10_000,) * 20 + (10_000_000,) * 60:
        cost.add(1, ns)
    assert cost.estimate(1) > 5_000_000
