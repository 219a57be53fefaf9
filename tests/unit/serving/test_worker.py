"""The worker's parts without a transport."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from headrace.errors import Refused
from headrace.limits import MAX_PREDICTION_ID, MAX_REQUEST_ID
from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.domain.formats import Format
from services.serving.link.messages import Assignment, ModelAssignment, VersionFiles
from services.serving.worker.answered import Answered
from services.serving.worker.batches import pack
from services.serving.worker.calls import NOTHING_BESIDE
from services.serving.worker.failure import Failure
from services.serving.worker.loading import Outcome, make_so
from services.serving.worker.methods.repository import index_of
from services.serving.worker.model import Model, load
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.table import Table, parse_version
from tests.harness import onnx_models
from tests.harness.data_plane import data_plane
from tests.harness.native_models import stumbling_safetensors


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("007", 7), ("9223372036854775807", 2**63 - 1)]
)
def test_versions_are_positive_numbers(text: str, number: int) -> None:
    assert parse_version(text) == number


@pytest.mark.parametrize(
    "text", ["0", "-1", "+1", "1.0", "abc", " 1", "९", "9223372036854775808", "9" * 5000]
)
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(Failure, match="failed to get model version"):
        parse_version(text)


def test_model_whose_output_the_protocol_cannot_carry_says_what_to_do(tmp_path: Path) -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph(
        [node],
        "zipmap",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [
            helper.make_value_info(
                "y",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
                    )
                ),
            )
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "zipmap.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    with pytest.raises(Refused, match=r"output 'y' is a seq\(map.*with zipmap off"):
        load(path, name="m", version=1)


@pytest.mark.parametrize("name", ["label", "prediction_id"])
def test_model_whose_input_is_named_like_a_column_of_labelled_data_is_refused(
    tmp_path: Path, name: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["y"])],
        "reserved",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
    )
    path = tmp_path / "reserved.onnx"
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    with pytest.raises(Refused, match=f"input '{name}' is named like a column"):
        load(path, name="m", version=1)


def test_message_about_many_inputs_is_short(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(1.0))})
    request = oip.ModelInferRequest(model_name="m", id="i" * 200)
    for number in range(1000):
        request.inputs.add(name=f"{number}{'x' * 100}", datatype="FP32", shape=[1, 4])
    with pytest.raises(Failure, match=r"got 1000 inputs .*\.\.\.\]") as failed:
        plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    assert len(failed.value.message) < 1000


def test_longest_accepted_request_passes_the_checks_of_the_log() -> None:
    assert MAX_REQUEST_ID + len(f"/{2**63}") <= MAX_PREDICTION_ID


def test_full_log_counts_every_row_once_under_threads(tmp_path: Path) -> None:
    log = PredictionLog(max_rows=500, max_bytes=10**6, ship_rows=100, full=lambda: None)
    plane = data_plane(tmp_path)
    model = plane.load("m", 1, onnx_models.constant(1.0))
    released = 0

    def add(_: int) -> None:
        log.add([_answered(model, rows=3)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(400)))
    for entry in log.take():
        released += entry.rows
        log.release(rows=entry.rows, size=entry.size)
    assert released + log.dropped_rows == 1200
    assert released <= 500
    assert (log.held_rows, log.logged_rows) == (0, released)


def test_log_wakes_its_shipper_once_a_batch_is_full(tmp_path: Path) -> None:
    woken: list[None] = []
    log = PredictionLog(
        max_rows=500, max_bytes=10**6, ship_rows=10, full=lambda: woken.append(None)
    )
    plane = data_plane(tmp_path)
    model = plane.load("m", 1, onnx_models.constant(1.0))
    for _ in range(5):
        log.add([_answered(model, rows=4)])
    assert len(woken) == 1
    log.take()
    for _ in range(5):
        log.add([_answered(model, rows=4)])
    assert len(woken) == 2


def test_only_the_first_answer_of_a_reign_is_noted_under_threads(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(1.0))})
    request = oip.ModelInferRequest(model_name="m", raw_input_contents=[b"\0" * 16])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    payload = request.SerializeToString()
    start = threading.Barrier(8)

    def ask(_: int) -> bytes:
        start.wait()
        return plane.inference.infer(payload, NOTHING_BESIDE).payload

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(ask, range(8)))) == 8
    assert len(plane.first_answers) == 1


def test_answer_of_a_pinned_version_is_no_first_answer(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    pinned = plane.load("m", 1, onnx_models.constant(1.0))
    plane.answer_with({"m": plane.load("m", 2, onnx_models.constant(2.0))}, pinned)
    request = oip.ModelInferRequest(
        model_name="m", model_version="1", raw_input_contents=[b"\0" * 16]
    )
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    answer = oip.ModelInferResponse.FromString(
        plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE).payload
    )
    assert answer.model_version == "1"
    assert plane.first_answers == []


def test_model_on_which_its_loader_stumbles_leaves_the_others_alone(tmp_path: Path) -> None:
    good = _assignment(tmp_path, champion=1, deployment=7, versions=[1]).models
    path = stumbling_safetensors(tmp_path)
    files = VersionFiles(version=1, path=str(path), digest="0", format=Format.SAFETENSORS)
    bad = ModelAssignment(name="bad", champion=1, deployment=8, versions=[files])
    made = make_so(Assignment(revision=1, models=[bad, *good]), loaded={}, table=Table())
    assert made.failures["bad", 1].startswith("TypeError")
    assert made.table.entries["m"].champion is not None


def test_assignment_that_says_the_same_keeps_models_and_reign(tmp_path: Path) -> None:
    assignment = _assignment(tmp_path, champion=1, deployment=7, versions=[1])
    first = make_so(assignment, loaded={}, table=Table())
    again = make_so(assignment, loaded=first.loaded, table=first.table)
    assert again.table.entries["m"].champion is first.table.entries["m"].champion


def test_same_version_deployed_again_begins_a_new_reign(tmp_path: Path) -> None:
    first = make_so(
        _assignment(tmp_path, champion=1, deployment=7, versions=[1]), loaded={}, table=Table()
    )
    second = _next(first, _assignment(tmp_path, champion=1, deployment=8, versions=[1]))
    before, after = first.table.entries["m"].champion, second.table.entries["m"].champion
    assert before is not None
    assert after is not None
    assert after is not before
    assert after.model is before.model


def test_champion_that_does_not_load_leaves_the_one_before(tmp_path: Path) -> None:
    first = make_so(
        _assignment(tmp_path, champion=1, deployment=7, versions=[1]), loaded={}, table=Table()
    )
    wrong = _assignment(tmp_path, champion=2, deployment=8, versions=[1, 2])
    (tmp_path / "2.onnx").write_bytes(b"garbage")
    second = _next(first, wrong)
    assert "is not a model" in second.failures["m", 2]
    champion = second.table.entries["m"].champion
    assert champion is not None
    assert champion.model.version == 1


def test_candidate_is_loaded_but_does_not_answer(tmp_path: Path) -> None:
    outcome = make_so(
        _assignment(tmp_path, champion=1, deployment=7, versions=[1, 2]), loaded={}, table=Table()
    )
    assert sorted(version for _, version, _ in outcome.loaded) == [1, 2]
    with pytest.raises(Failure, match="version 2 is not found"):
        outcome.table.answering("m", "2")


def test_index_says_why_versions_do_not_answer(tmp_path: Path) -> None:
    first = make_so(
        _assignment(tmp_path, champion=1, deployment=7, versions=[1, 2]), loaded={}, table=Table()
    )
    wrong = _assignment(tmp_path, champion=3, deployment=8, versions=[1, 2, 3])
    (tmp_path / "3.onnx").write_bytes(b"garbage")
    second = _next(first, wrong)
    lines = {
        int(line.version): (line.state, line.reason)
        for line in index_of(second.table, only_ready=False)
    }
    assert lines[1] == ("READY", "")
    assert lines[2] == ("UNAVAILABLE", "loaded, and not promoted")
    assert lines[3][0] == "UNAVAILABLE"
    assert "is not a model" in lines[3][1]
    assert [line.version for line in index_of(second.table, only_ready=True)] == ["1"]


def test_unloaded_model_leaves_memory_and_its_name_stays_known(tmp_path: Path) -> None:
    first = make_so(
        _assignment(tmp_path, champion=1, deployment=7, versions=[1]), loaded={}, table=Table()
    )
    out = Assignment(revision=2, models=[ModelAssignment(name="m", unloaded="unloaded")])
    second = _next(first, out)
    assert second.loaded == {}
    (line,) = index_of(second.table, only_ready=False)
    assert (line.name, line.state, line.reason) == ("m", "UNAVAILABLE", "unloaded")


def _next(before: Outcome, assignment: Assignment) -> Outcome:
    return make_so(assignment, loaded=before.loaded, table=before.table)


def _assignment(
    directory: Path, *, champion: int, deployment: int, versions: list[int]
) -> Assignment:
    for version in versions:
        (directory / f"{version}.onnx").write_bytes(onnx_models.constant(float(version)))
    files = [
        VersionFiles(version=each, path=str(directory / f"{each}.onnx"), digest=str(each))
        for each in versions
    ]
    model = ModelAssignment(name="m", champion=champion, deployment=deployment, versions=files)
    return Assignment(revision=1, models=[model])


def _answered(model: Model, *, rows: int) -> Answered:
    return Answered(
        model=model,
        request_ids=["r"],
        event_times_us=[1],
        rows=rows,
        inputs=[b"\0" * 16 * rows],
        outputs=[b"\0" * 4 * rows],
        input_shapes=[(rows, 4)],
        output_shapes=[(rows,)],
    )


def test_rows_with_long_ids_fit_the_producers_batches(tmp_path: Path) -> None:
    model = data_plane(tmp_path).load("m", 1, onnx_models.constant(1.0))
    entry = replace(_answered(model, rows=4096), request_ids=["\N{SNOWMAN}" * 256])
    shipment = pack([entry], project="p", now_us=1, dropped_rows=0)
    assert sum(batch.rows for batch in shipment.batches) == 4096
    assert max(len(batch.data) for batch in shipment.batches) < 900 * 1024


def test_event_time_zero_is_a_time(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 1, onnx_models.constant(1.0))})
    request = oip.ModelInferRequest(model_name="m", raw_input_contents=[b"\0" * 16])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    request.parameters["event_time_us"].int64_param = 0
    plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    assert [entry.event_times_us for entry in plane.log.take()] == [[0]]


def test_answers_are_counted_by_model_and_version(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    plane.answer_with({"m": plane.load("m", 4, onnx_models.constant(1.0))})
    request = oip.ModelInferRequest(model_name="m", raw_input_contents=[b"\0" * 48])
    request.inputs.add(name="x", datatype="FP32", shape=[3, 4])
    for _ in range(2):
        plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    registry = plane.metrics.registry
    labels = {"model": "m", "version": "4"}
    assert registry.get_sample_value("inference_requests_total", labels) == 2
    assert registry.get_sample_value("inference_rows_total", labels) == 6
    assert registry.get_sample_value("inference_seconds_count", labels) == 2


def test_names_that_clients_make_up_get_no_series(tmp_path: Path) -> None:
    plane = data_plane(tmp_path)
    for number in range(3):
        request = oip.ModelInferRequest(model_name=f"made-up-{number}")
        with pytest.raises(Failure):
            plane.inference.infer(request.SerializeToString(), NOTHING_BESIDE)
    value = plane.metrics.registry.get_sample_value(
        "inference_failures_total", {"model": "", "version": "", "code": "NOT_FOUND"}
    )
    assert value == 3
