"""Which models are in memory, who makes room, and what callers see of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from headrace.errors import Refused
from headrace.rpc.inference import open_inference_pb2 as oip
from headrace.runtime.telemetry import Metrics
from services.serving.link.messages import (
    ArmAssignment,
    Assignment,
    BucketAssignment,
    ModelAssignment,
    ShadowAssignment,
    TrafficAssignment,
    VersionFiles,
)
from services.serving.worker.calls import NOTHING_BESIDE, Details, Reply
from services.serving.worker.failure import Code, Failure
from services.serving.worker.loading import Outcome, make_so
from services.serving.worker.methods.repository import index_of
from services.serving.worker.model import Model
from services.serving.worker.residency import Residency, State
from services.serving.worker.residency.meters import ResidencyCollector
from services.serving.worker.table import Table
from tests.harness import onnx_models
from tests.harness.callers import Answers, one_row
from tests.harness.data_plane import DataPlane, data_plane
from tests.harness.seated_models import Source, seated


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Models `a`, `b`, ... of one byte each, of which two fit."""

    plane: DataPlane
    residency: Residency
    sources: Sequence[Source]
    models: Sequence[Model]

    def ask(self, name: str, details: Details = NOTHING_BESIDE) -> Reply:
        return self.plane.inference.infer(one_row(name, [1.0]), details)

    def here(self) -> list[str]:
        return [each.name for each in self.models if each.presence.state is State.HERE]

    def index(self) -> dict[str, tuple[str, str]]:
        lines = index_of(self.plane.serving.table, only_ready=False)
        return {line.name: (line.state, line.reason) for line in lines}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    residency = Residency(2)
    sources = [Source() for _ in "abc"]
    models = [
        seated(residency, source, name=name) for source, name in zip(sources, "abc", strict=True)
    ]
    plane = data_plane(tmp_path)
    plane.answer_with({model.name: model for model in models})
    return Shelf(plane=plane, residency=residency, sources=sources, models=models)


def test_least_recently_used_model_makes_room(shelf: Shelf) -> None:
    assert shelf.here() == ["b", "c"]
    shelf.ask("b")
    shelf.ask("a")
    assert shelf.here() == ["a", "b"]


def test_call_for_a_model_that_is_not_in_memory_is_answered(shelf: Shelf) -> None:
    answer = oip.ModelInferResponse.FromString(shelf.ask("a").payload)
    assert answer.model_name == "a"
    assert answer.raw_output_contents[0] == one_row("a", [1.0])[-4:]


def test_calls_at_once_for_a_model_share_one_load(shelf: Shelf) -> None:
    source, answers = shelf.sources[0], Answers()
    source.go.clear()
    for call in range(20):
        shelf.plane.inference.accept([answers.arrival(call, one_row("a", [call]))])
    source.go.set()
    assert all(isinstance(each, Reply) for each in answers.wait(20).values())
    assert source.loads == 2


def test_threads_at_once_for_a_seat_share_one_load(shelf: Shelf) -> None:
    model, source = shelf.models[0], shelf.sources[0]
    source.go.clear()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(model.bring) for _ in range(8)]
        source.go.set()
        for each in waiting:
            each.result(20)
    assert source.loads == 2


def test_other_models_answer_while_one_is_loaded(shelf: Shelf) -> None:
    source, answers = shelf.sources[0], Answers()
    for _ in range(100):
        shelf.ask("c")
    source.go.clear()
    shelf.plane.inference.accept(
        [answers.arrival(0, one_row("a", [1])), answers.arrival(1, one_row("c", [1]))]
    )
    assert list(answers.wait(1)) == [1]
    source.go.set()
    answers.wait(2)


def test_deadline_that_passes_while_a_model_is_loaded_is_kept(shelf: Shelf) -> None:
    source = shelf.sources[0]
    source.go.clear()
    with pytest.raises(Failure) as failed:
        shelf.ask("a", Details(deadline=time.monotonic() + 0.05))
    assert failed.value.code is Code.DEADLINE_EXCEEDED
    source.go.set()
    shelf.ask("a")


def test_time_of_loading_counts_as_waiting_not_as_computing(shelf: Shelf) -> None:
    source, answers = shelf.sources[0], Answers()
    source.go.clear()
    shelf.plane.inference.accept([answers.arrival(0, one_row("a", [1]))])
    assert source.begun.acquire(timeout=20)
    assert source.begun.acquire(timeout=20)
    began = time.monotonic_ns()
    while time.monotonic_ns() - began < 20_000_000:
        threading.Event().wait(0.001)
    source.go.set()
    answers.wait(1)
    (counted,) = shelf.plane.statistics.of([("a", 1)])
    assert counted.queue.ns >= 20_000_000 > counted.compute_infer.ns


def test_model_that_runs_is_not_evicted_and_the_load_waits_for_it(shelf: Shelf) -> None:
    _, b, c = shelf.models
    assert b.hold()
    assert c.hold()
    answers = Answers()
    shelf.plane.inference.accept([answers.arrival(0, one_row("a", [1]))])
    _until_loading(shelf, "a")
    assert shelf.here() == ["b", "c"]
    assert not answers.by_call
    c.release()
    answers.wait(1)
    assert shelf.here() == ["a", "b"]
    b.release()


def test_model_that_is_needed_live_is_never_evicted(shelf: Shelf) -> None:
    b = shelf.models[1]
    assert b.seat is not None
    shelf.residency.fix({b.seat})
    for name in ("c", "a", "c", "a"):
        shelf.ask(name)
    assert shelf.here() == ["a", "b"]
    assert shelf.sources[1].loads == 1


def test_models_that_must_be_there_may_pass_the_budget(shelf: Shelf) -> None:
    shelf.residency.fix({each.seat for each in shelf.models if each.seat})
    assert shelf.here() == ["a", "b", "c"]
    assert shelf.residency.used == 3


def test_model_that_cannot_be_loaded_again_says_why(shelf: Shelf) -> None:
    shelf.sources[0].error = Refused("model.onnx is gone")
    with pytest.raises(Failure, match=r"model\.onnx is gone") as failed:
        shelf.ask("a")
    assert failed.value.code is Code.UNAVAILABLE
    assert shelf.index()["a"] == ("UNAVAILABLE", "model.onnx is gone")
    assert not shelf.plane.serving.table.is_ready("a", "")


def test_calls_after_a_failed_load_are_refused_without_another_try(shelf: Shelf) -> None:
    shelf.sources[0].error = Refused("model.onnx is gone")
    for _ in range(3):
        with pytest.raises(Failure, match=r"model\.onnx is gone"):
            shelf.ask("a")
    assert shelf.sources[0].loads == 2
    assert shelf.residency.used == 1


def test_model_that_the_next_call_loads_is_ready(shelf: Shelf) -> None:
    assert shelf.index()["a"] == ("READY", "not in memory: the next call loads it")
    assert shelf.plane.serving.table.is_ready("a", "")
    assert shelf.index()["b"] == ("READY", "")


def test_model_that_is_being_loaded_says_so_in_the_index(shelf: Shelf) -> None:
    source, answers = shelf.sources[0], Answers()
    source.begun.acquire(timeout=20)
    source.go.clear()
    shelf.plane.inference.accept([answers.arrival(0, one_row("a", [1]))])
    assert source.begun.acquire(timeout=20)
    assert shelf.index()["a"] == ("LOADING", "being loaded: calls wait for it")
    assert shelf.plane.serving.table.is_ready("a", "")
    source.go.set()
    answers.wait(1)


def test_load_call_brings_a_model_back_beforehand(shelf: Shelf) -> None:
    load = shelf.plane.dispatcher.methods()["/inference.GRPCInferenceService/RepositoryModelLoad"]
    request = oip.RepositoryModelLoadRequest(model_name="a")
    load(request.SerializeToString(), NOTHING_BESIDE)
    assert shelf.here() == ["a", "c"]


def test_loads_evictions_and_bytes_are_counted(shelf: Shelf) -> None:
    metrics = Metrics()
    metrics.registry.register(ResidencyCollector(shelf.residency))
    shelf.ask("a")
    shown = generate_latest(metrics.registry).decode()
    for line in (
        "model_loads_total 4.0",
        "model_evictions_total 2.0",
        "model_load_failures_total 0.0",
        "model_memory_bytes 2.0",
        "model_memory_budget_bytes 2.0",
        "models_in_memory 2.0",
    ):
        assert line in shown


def test_model_that_is_dropped_takes_no_memory() -> None:
    residency = Residency(2)
    model = seated(residency, Source(), name="d")
    assert residency.used == 1
    del model
    assert residency.used == 0


def _until_loading(shelf: Shelf, name: str) -> None:
    deadline = time.monotonic() + 20
    while shelf.index()[name][0] != "LOADING":
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def _made_so(residency: Residency, models: Sequence[ModelAssignment]) -> Outcome:
    assignment = Assignment(revision=1, models=list(models))
    return make_so(assignment, loaded={}, table=Table(), residency=residency)


def _files(folder: Path, version: int) -> VersionFiles:
    path = folder / str(version) / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(onnx_models.constant(float(version)))
    return VersionFiles(version=version, path=str(path), digest=f"{version}", memory=10)


def _here(outcome: Outcome) -> set[int]:
    return {
        version
        for (_, version, _), model in outcome.loaded.items()
        if model.presence.state is State.HERE
    }


def test_an_assignment_may_name_more_models_than_fit(tmp_path: Path) -> None:
    residency = Residency(35)
    models = [
        ModelAssignment(name=f"m{version}", champion=version, versions=[_files(tmp_path, version)])
        for version in range(1, 11)
    ]
    outcome = _made_so(residency, models)
    assert len(_here(outcome)) == 3
    assert not outcome.failures
    assert all(outcome.table.is_ready(model.name, "") for model in models)


def test_arms_and_shadows_of_a_traffic_table_are_kept_in_memory(tmp_path: Path) -> None:
    compared = ModelAssignment(
        name="compared",
        champion=1,
        versions=[_files(tmp_path, version) for version in (1, 2, 3)],
        traffic=TrafficAssignment(
            table=1,
            salt="00",
            arms=[ArmAssignment(name="canary", version=2)],
            buckets=[BucketAssignment(end=10_000, arm="canary")],
            shadows=[ShadowAssignment(version=3, weight=10_000)],
        ),
    )
    others = [
        ModelAssignment(name=f"m{version}", champion=version, versions=[_files(tmp_path, version)])
        for version in range(4, 8)
    ]
    assert _here(_made_so(Residency(40), [compared, *others])) >= {1, 2, 3}


def test_version_with_the_alias_resident_is_kept_in_memory(tmp_path: Path) -> None:
    pinned = ModelAssignment(
        name="wanted", champion=1, versions=[_files(tmp_path, 1)], aliases={"resident": 1}
    )
    others = [
        ModelAssignment(name=f"m{version}", champion=version, versions=[_files(tmp_path, version)])
        for version in range(2, 6)
    ]
    assert 1 in _here(_made_so(Residency(20), [pinned, *others]))
