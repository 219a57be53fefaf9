"""What a learner does with labels that come early, late, in vain or wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.learning.document import MODEL_FILE, decode_document
from headrace.learning.replay import Position, replay
from tests.harness.learner import FEATURES, PLAN, Learning, examples, learned

pytestmark = pytest.mark.timeout(300)  # the first test waits for six processes

RUNAWAY = {"kind": "linear_regression", "learning_rate": 10.0, "l2": 10.0}


async def test_labels_ahead_of_their_predictions_wait_and_keep_their_turn(
    learning: Learning, model: str
) -> None:
    given = examples(6)
    await learning.begin("early", model, wait_seconds=600)
    await learning.label(model, given)
    await learning.log(model, given[3:])
    await learning.log(model, given[:3])
    known = await learning.has("early", learned=6)
    assert known["digest"] == learned(given).digest(PLAN)


async def test_a_label_that_waits_in_vain_is_counted_and_passed_over(
    learning: Learning, model: str
) -> None:
    given = examples(5)
    await learning.begin("vain", model, wait_seconds=0)
    await learning.log(model, given[1:])
    await learning.label(model, given)
    known = await learning.has("vain", learned=4)
    assert known["unjoined"] == 1
    assert known["digest"] == learned(given[1:]).digest(PLAN)


async def test_too_many_labels_are_not_waited_for(learning: Learning, model: str) -> None:
    given = examples(30)
    await learning.begin("many", model, wait_seconds=3600, max_labels=10)
    await learning.label(model, given)
    known = await learning.has("many", unjoined=20)
    assert (known["unjoined"], known["learned"]) == (20, 0)
    await learning.log(model, given)
    known = await learning.has("many", learned=10)
    assert known["digest"] == learned(given[20:]).digest(PLAN)


async def test_a_prediction_is_learned_from_once(learning: Learning, model: str) -> None:
    given = examples(5)
    await learning.begin("once", model)
    await learning.log(model, given)
    await learning.label(model, given)
    await learning.label(model, [replace(given[0], label=1 - given[0].label)])
    known = await learning.has("once", learned=5, repeated=1)
    assert known["digest"] == learned(given).digest(PLAN)


async def test_features_may_come_with_the_labels_themselves(learning: Learning, model: str) -> None:
    given = examples(5)
    await learning.begin("alone", model, features_from="labels", every_labels=4)
    labels = [
        learning.labelled(model, each, features=dict(zip(FEATURES, each.row.tolist(), strict=True)))
        for each in given[:4]
    ]
    await learning.serving.publisher.emit_many([*labels, learning.labelled(model, given[4])])
    known = await learning.has("alone", learned=4, unusable=1)
    assert known["digest"] == learned(given[:4]).digest(PLAN)
    assert known["trouble"] == (f"feature 'x[0]' is not in the label of {given[4].prediction_id!r}")


async def test_what_a_model_failed_on_is_not_learned_from(learning: Learning, model: str) -> None:
    failed, answered = examples(2)
    record = learning.logged(model, [failed])
    record.error = "INTERNAL"
    await learning.begin("failed", model, wait_seconds=0)
    await learning.serving.publisher.emit(record)
    await learning.log(model, [answered])
    await learning.label(model, [failed, answered])
    known = await learning.has("failed", learned=1, unjoined=1)
    assert known["digest"] == learned([answered]).digest(PLAN)


async def test_what_cannot_be_used_is_counted_and_said(learning: Learning, model: str) -> None:
    given = examples(4)
    broken = replace(given[0], row=np.array([np.nan, 0, 0], np.float32))
    await learning.begin("broken", model, wait_seconds=0)
    await learning.log(model, [broken, *given[1:]])
    await learning.label(model, [*given[1:3], replace(given[3], label=0.5)])
    known = await learning.has("broken", learned=2, unusable=2)
    assert known["trouble"] == "a feature is no finite number"


async def test_a_feature_that_is_not_logged_is_named(learning: Learning, model: str) -> None:
    await learning.begin("unnamed", model, features=["x[0]", "age"])
    await learning.log(model, examples(3))
    known = await learning.has("unnamed", unusable=3)
    assert known["trouble"] == (
        f"feature 'age' is not among the logged numbers of version 1 of {model}: x[0], x[1], x[2]"
    )


async def test_predictions_beyond_the_bound_are_dropped_and_counted(
    learning: Learning, model: str
) -> None:
    await learning.begin("bounded", model, max_predictions=10)
    for _ in range(3):
        await learning.log(model, examples(10))
    known = await learning.has("bounded", expired=20)
    assert known["expired"] == 20


async def test_a_learner_that_diverges_stands_still_until_it_has_another_plan(
    learning: Learning, model: str
) -> None:
    given = examples(300)
    await learning.begin("diverged", model, estimator=RUNAWAY)
    await learning.log(model, given)
    await learning.label(model, given)
    assert "learn more slowly" in await learning.failure("diverged")
    await learning.begin("diverged", model)
    again = examples(3, seed=1)
    await learning.log(model, again)
    await learning.label(model, again)
    known = await learning.has("diverged", learned=3)
    assert known["failure"] is None


@pytest.mark.slow
async def test_snapshots_wait_for_a_registry_that_is_away(learning: Learning, model: str) -> None:
    given = examples(30)
    learning.registry.kill()
    await learning.begin("away", model, every_labels=10)
    await learning.log(model, given)
    await learning.label(model, given)
    await learning.has("away", snapshots=3)
    learning.registry.start()
    found = await learning.published("away", 3)
    assert [each["version"] for each in found] == [1, 2, 3]


async def test_any_offset_of_a_snapshot_can_be_replayed(
    learning: Learning, model: str, tmp_path: Path
) -> None:
    given = examples(20)
    await learning.begin("replayed", model, every_labels=10)
    await learning.log(model, given)
    await learning.label(model, given)
    _, newest = await learning.published("replayed", 2)
    folder = await learning.download("replayed", newest["version"], tmp_path)
    document = decode_document((folder / MODEL_FILE).read_bytes())
    (span,) = document.lineage.labels
    assert replay(folder).digest == newest["digest"]
    for count in range(1, 11):
        partly = replay(
            folder, to=Position(partition=span.partition, offset=span.through - 10 + count)
        )
        assert partly.digest == learned(given[: 10 + count]).digest(PLAN)


async def test_lineage_names_topics_offsets_and_the_version_before(
    learning: Learning, model: str, tmp_path: Path
) -> None:
    given = examples(20)
    await learning.begin("lineage", model, every_labels=10)
    await learning.log(model, given)
    await learning.label(model, given)
    first, second = await learning.published("lineage", 2)
    folder = await learning.download("lineage", second["version"], tmp_path)
    lineage = decode_document((folder / MODEL_FILE).read_bytes()).lineage
    assert lineage.parent is not None
    assert (lineage.parent.version, lineage.parent.digest) == (first["version"], first["digest"])
    assert lineage.start_digest == first["digest"]
    assert (lineage.label_topic, lineage.prediction_topic) == (
        "monitoring.label.intake.v1",
        "serving.inference.log.v1",
    )
    (span,) = lineage.labels
    before = first["positions"][str(span.partition)]
    assert (span.after, span.through) == (before, second["positions"][str(span.partition)])
    assert span.through - before == 10
    (logged,) = lineage.predictions
    assert logged.through == logged.first


async def test_a_wish_for_promotion_is_left_to_the_registrys_policy(
    learning: Learning, model: str
) -> None:
    given = examples(10)
    learning.platform.put_promotion_policy("wishing", {"auto_promote": False, "updated_by": "ada"})
    await learning.begin("wishing", model, every_labels=10, request_promotion=True)
    await learning.log(model, given)
    await learning.label(model, given)
    (snapshot,) = await learning.published("wishing", 1)
    assert snapshot["promotion"] == "waiting"
    (request,) = learning.platform.promotion_requests(model="wishing")
    assert request["requested_by"] == "learner wishing"


async def test_the_process_shows_what_its_learners_do(learning: Learning, model: str) -> None:
    given = examples(4)
    await learning.begin("shown", model)
    await learning.log(model, given)
    await learning.label(model, given)
    await learning.has("shown", learned=4)
    await learning.metric('learner_learned{learner="shown"}', 4.0)
    await learning.metric('learner_failed{learner="shown"}', 0.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": []}, "features"),
        ({"features": ["a", "a"]}, "features"),
        ({"estimator": {"kind": "hoeffding_tree"}}, "estimator.kind"),
        (
            {"estimator": {"kind": "linear_regression", "learning_rate": 0}},
            "estimator.learning_rate",
        ),
        ({"every_labels": 0}, "every_labels"),
        ({"publish_as": "a/b"}, "publish_as"),
        ({"cadence": 3}, "cadence"),
    ],
)
async def test_a_wrong_setting_is_refused_by_its_name(
    learning: Learning, model: str, change: dict[str, object], field: str
) -> None:
    body = {
        "model": model,
        "estimator": {"kind": "logistic_regression"},
        "features": list(FEATURES),
        "author": "ada",
    }
    answer = await learning.call("PUT", "/wrong", body | change)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert (await learning.call("GET", "/wrong")).status_code == 404


async def test_other_settings_keep_what_was_learned_and_another_plan_begins_anew(
    learning: Learning, model: str
) -> None:
    given = examples(4)
    await learning.begin("changed", model)
    await learning.log(model, given)
    await learning.label(model, given)
    await learning.has("changed", learned=4)
    await learning.begin("changed", model, every_labels=5)
    known = await learning.known("changed")
    assert (known["learned"], known["generation"], known["every_labels"]) == (4, 1, 5)
    await learning.begin("changed", model, features=["x[1]"])
    known = await learning.known("changed")
    assert (known["learned"], known["generation"]) == (0, 2)


async def test_a_learner_that_is_ended_is_gone(learning: Learning, model: str) -> None:
    await learning.begin("ended", model)
    assert (await learning.call("DELETE", "/ended")).status_code == 200
    assert (await learning.call("GET", "/ended")).status_code == 404
    assert (await learning.call("DELETE", "/ended")).status_code == 404
