"""Who answers, by what a request says of itself; and shadows that never get in the way."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from headrace.rpc.inference import open_inference_pb2 as oip
from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged, ShadowCompared
from headrace.runtime.telemetry import Metrics, configure_logs
from services.serving.control.log_intake import LogIntake
from services.serving.link.messages import (
    ArmAssignment,
    Assignment,
    BucketAssignment,
    LogRules,
    ModelAssignment,
    ShadowAssignment,
    TrafficAssignment,
    VersionFiles,
)
from services.serving.worker.calls import Details
from services.serving.worker.failure import Failure
from services.serving.worker.heads import read_head
from services.serving.worker.loading import make_so
from services.serving.worker.log_rules import Rules
from services.serving.worker.routing.meters import ShadowCollector
from services.serving.worker.routing.router import Choice, Router
from services.serving.worker.routing.shadows import Compared, Shadows, distances, pack
from services.serving.worker.table import Serving, Table
from tests.harness import onnx_models
from tests.harness.bus import until

SHADOW_QUEUE = 64
INTAKE_QUEUE = 128


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """m: champion v1, canary v2 with half of the buckets, v3 as a shadow of everything."""
    files = []
    for version in (1, 2, 3):
        path = tmp_path / f"{version}.onnx"
        path.write_bytes(onnx_models.constant(float(version)))
        files.append(VersionFiles(version=version, path=str(path), digest=str(version)))
    traffic = TrafficAssignment(
        table=7,
        salt="salt",
        experiment="colours",
        slow_ms=5.0,
        arms=[ArmAssignment(name="canary", version=2)],
        buckets=[
            BucketAssignment(end=5000, arm="canary"),
            BucketAssignment(end=10_000, arm="champion"),
        ],
        shadows=[ShadowAssignment(version=3, weight=10_000)],
    )
    assigned = ModelAssignment(
        name="m", champion=1, deployment=1, versions=files, traffic=traffic, aliases={"old": 1}
    )
    made = Serving()
    made.table = make_so(Assignment(revision=1, models=[assigned]), loaded={}, table=Table()).table
    return made


def _choose(
    serving: Serving,
    *,
    model: str = "m",
    version: str = "",
    request_id: str = "",
    entity: object = None,
    **metadata: str,
) -> Choice:
    request = oip.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    if isinstance(entity, int):
        request.parameters["entity_id"].int64_param = entity
    elif isinstance(entity, str):
        request.parameters["entity_id"].string_param = entity
    beside = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    payload = request.SerializeToString()
    return Router(serving).choose(read_head(payload), payload, Details(metadata=beside))


def _arms(serving: Serving, **fixed: str) -> set[str]:
    return {_choose(serving, request_id=f"r{number}", **fixed).arm for number in range(60)}


def test_a_sticky_key_comes_before_everything_else(serving: Serving) -> None:
    assert len(_arms(serving, x_sticky_key="ada")) == 1
    arms = {
        _choose(serving, x_sticky_key="ada", x_seldon_route=f":m_{version}:").arm
        for version in (1, 2)
    }
    assert len(arms) == 1
    assert {_choose(serving, x_sticky_key=f"user-{n}").arm for n in range(60)} == {
        "canary",
        "champion",
    }


def test_a_route_comes_before_the_entity_and_is_told_apart_in_the_log(serving: Serving) -> None:
    for version, arm in ((1, "champion"), (2, "canary")):
        for entity in range(20):
            choice = _choose(serving, entity=entity, x_seldon_route=f":m_{version}:")
            assert (choice.arm, choice.propensity) == (arm, 0.0)


@pytest.mark.parametrize("route", [":m_9:", ":other_2:", "nonsense", ":m_x:"])
def test_a_route_that_leads_nowhere_is_passed_over(serving: Serving, route: str) -> None:
    assert _choose(serving, request_id="r1", x_seldon_route=route).propensity == 0.5


def test_an_entity_comes_before_the_request_id(serving: Serving) -> None:
    for entity in (17, "ada"):
        assert (
            len({_choose(serving, request_id=f"r{n}", entity=entity).arm for n in range(60)}) == 1
        )


def test_a_number_and_its_text_are_one_entity(serving: Serving) -> None:
    for number in range(40):
        assert _choose(serving, entity=number).arm == _choose(serving, entity=str(number)).arm


def test_requests_without_a_key_are_spread(serving: Serving) -> None:
    assert {_choose(serving).arm for _ in range(100)} == {"canary", "champion"}


def test_a_named_version_or_label_is_no_part_of_the_experiment(serving: Serving) -> None:
    for label, version in (("2", 2), ("canary", 2), ("champion", 1), ("@old", 1)):
        choice = _choose(serving, version=label, x_sticky_key="ada")
        assert choice.model.version == version
        assert (choice.table_version, choice.arm, choice.propensity) == (0, "", 1.0)


def test_labels_that_point_nowhere_are_not_found(serving: Serving) -> None:
    with pytest.raises(Failure, match="label '@new' points to no version that is loaded"):
        _choose(serving, version="@new")


def test_the_answer_says_who_gave_it(serving: Serving) -> None:
    choice = _choose(serving, request_id="r1", x_seldon_route=":m_2:")
    assert dict(choice.metadata) == {
        "x-request-id": "r1",
        "x-model-version": "2",
        "x-seldon-route": ":m_2:",
        "x-experiment": "colours/canary",
    }


@pytest.mark.parametrize("name", ["departures_1", "départs", "出発"])
def test_a_route_is_honoured_whatever_script_the_name_is_in(serving: Serving, name: str) -> None:
    entry = serving.table.entries["m"]
    for model in entry.arms.values():
        model.name = name
    serving.table = Table(entries={name: entry})
    told = dict(_choose(serving, model=name, request_id="r1").metadata)
    assert told["x-seldon-route"].isascii()
    pinned = _choose(serving, model=name, x_seldon_route=told["x-seldon-route"])
    assert pinned.model.version_text == told["x-model-version"]
    assert pinned.propensity == 0


def test_arms_count_answers_failures_and_slow_ones(serving: Serving) -> None:
    for key in range(100):
        choice = _choose(serving, entity=key)
        choice.ended(6_000_000 if key % 2 else 1_000_000, failed=key % 5 == 0)
    _choose(serving, x_seldon_route=":m_2:").ended(1)
    routes = serving.table.entries["m"].routes
    assert routes is not None
    counts = routes.counts()
    assert sum(each.requests for each in counts) == 100
    assert sum(each.failures for each in counts) == 20
    assert sum(each.slow for each in counts) == 50


async def test_a_shadow_predicts_what_was_answered(serving: Serving) -> None:
    shadows = Shadows()
    choice = _choose(serving, request_id="r1", x_seldon_route=":m_1:")
    feed = {"x": np.zeros((2, 4), np.float32)}
    shadows.offer(choice, feed, 2, choice.model.run(feed))
    taken: list[Compared] = []

    def arrived() -> bool:
        taken.extend(shadows.take())
        return bool(taken)

    await until(arrived, what="the comparison")
    (record,) = pack(taken, project="p", now_us=1, dropped=0, failed=0)
    assert list(record.prediction_ids) == ["r1/0", "r1/1"]
    assert list(record.distances) == [2.0, 2.0]
    assert (record.version, record.shadow_version, record.table_version) == (1, 3, 7)


def test_shadows_that_cannot_keep_up_are_dropped_and_counted(serving: Serving) -> None:
    shadows = Shadows()
    choice = _choose(serving, request_id="r1")
    feed = {"x": np.zeros((1, 4), np.float32)}
    outputs = choice.model.run(feed)
    shadows._thread = object()  # type: ignore[assignment]  # nobody takes anything
    for _ in range(SHADOW_QUEUE + 10):
        shadows.offer(choice, feed, 1, outputs)
    registry = CollectorRegistry()
    registry.register(ShadowCollector(shadows))
    assert registry.get_sample_value("shadow_dropped_requests_total") == 10
    assert registry.get_sample_value("shadow_failed_requests_total") == 0


def test_comparisons_that_the_control_process_has_no_room_for_are_counted() -> None:
    metrics = Metrics()
    heard: list[PredictionLogged] = []
    intake = LogIntake(
        kafka="unused",
        metrics=metrics,
        log=configure_logs(service="test", level="warning"),
        published=heard.append,
    )
    record = ShadowCompared(model="m", prediction_ids=["r/0", "r/1"]).SerializeToString()
    for _ in range(INTAKE_QUEUE // 2 + 3):
        intake.add_shadows(record)
    dropped = metrics.registry.get_sample_value("shadow_dropped_rows_total", {"model": "m"})
    assert dropped == 3 * 2


@pytest.mark.parametrize("how", ["drop", "hash"])
def test_outputs_that_are_redacted_from_the_log_are_not_compared_in_public(
    serving: Serving, how: Literal["drop", "hash"]
) -> None:
    model = serving.table.entries["m"].arms[1]
    compared = Compared(
        model=model,
        shadow=serving.table.entries["m"].arms[2],
        table_version=7,
        request_id="r1",
        distances=[1.0],
        shapes=[(1,)],
        raws=[b"\0" * 4],
        shadow_raws=[b"\0" * 4],
    )
    rules = Rules(hash_key="key")
    packed = partial(pack, [compared], project="p", now_us=1, dropped=0, failed=0, rules=rules)
    (whole,) = packed()
    rules.replace({"m": LogRules(redact={model.outputs[0].name: how})})
    (redacted,) = packed()
    assert (len(whole.outputs), len(whole.shadow_outputs)) == (1, 1)
    assert (len(redacted.outputs), len(redacted.shadow_outputs)) == (0, 0)
    assert list(redacted.distances) == [1.0]


def test_the_distance_of_a_row_is_its_largest_difference() -> None:
    ours = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array(["a", "b"], dtype=object)]
    theirs = [np.array([[1.0, 2.5], [3.0, 4.0]]), np.array(["a", "c"], dtype=object)]
    assert distances(ours, theirs, rows=2) == [0.5, 1.0]
