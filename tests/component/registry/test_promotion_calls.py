"""Promotion by request, gate and approval; rollback; the history of who was champion."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from headrace.events import ExperimentChanged, RolloutChanged
from headrace.runtime.bus import Caller, Event
from services.registry.api.live_traffic import on_experiment_changed, on_rollout_changed
from tests.component.registry.conftest import (
    API,
    MLFLOW,
    MORNING,
    Registry,
    arriving,
    evidence,
)


async def test_the_first_version_is_promoted_without_evidence(registry: Registry) -> None:
    await registry.model("flights")
    version = await registry.version("flights")
    made = await registry.promote("flights", version)
    assert made["outcome"] == "approved"
    assert made["reason"] == "no champion to compare with"
    assert await registry.champion("flights") == version


async def test_a_promotion_is_told_in_order_under_one_correlation(registry: Registry) -> None:
    await registry.model("flights")
    version = await registry.version("flights")
    path = f"{API}/models/flights/versions/{version}/promotion-requests"
    await registry.call(
        "POST", path, {"requested_by": "step"}, x_correlation_id="turn-1", x_causation_id="cause-1"
    )
    created, requested, decided, promoted, state = await registry.events()
    assert [created.name, requested.name, decided.name, promoted.name, state.name] == [
        "ModelVersionCreated",
        "PromotionRequested",
        "PromotionDecided",
        "ModelPromoted",
        "ModelAliasState",
    ]
    assert {event.correlation_id for event in (requested, decided, promoted)} == {"turn-1"}
    assert requested.causation_id == "cause-1"
    assert decided.causation_id == requested.id
    assert promoted.causation_id == decided.id
    assert {event.key for event in (created, requested, decided, promoted)} == {"flights"}
    assert promoted.data.files == created.data.files
    assert promoted.data.digest == created.data.digest
    assert promoted.data.previous_version is None


async def test_a_better_challenger_replaces_the_champion(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    made = await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    assert made["outcome"] == "approved"
    promoted = (await registry.events("ModelPromoted"))[-1]
    assert (promoted.data.version, promoted.data.previous_version) == (second, first)
    assert promoted.data.request_id == made["request_id"]


async def test_a_worse_challenger_is_rejected_with_reasons(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    worse = [{"metric": "auc", "champion": 0.7, "challenger": 0.6, "higher_is_better": True}]
    made = await registry.promote(
        "flights", second, evidence=evidence(dataset, champion=first, metrics=worse)
    )
    assert made["outcome"] == "rejected"
    assert "auc 0.6 against champion's 0.7: worse by 0.1, allowed 0" in made["reason"]
    assert await registry.champion("flights") == first
    assert (await registry.events("PromotionDecided"))[-1].data.outcome == "rejected"


async def test_evidence_on_a_dataset_with_another_digest_is_rejected(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    forged = evidence(dataset, champion=first, dataset_digest=f"sha256:{'0' * 64}")
    made = await registry.promote("flights", second, evidence=forged)
    assert made["outcome"] == "rejected"
    assert "has digest" in made["reason"]


async def test_evidence_against_a_champion_that_moved_is_a_conflict(registry: Registry) -> None:
    await registry.model("flights")
    first, second, third = [await registry.version("flights") for _ in range(3)]
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    before = len(await registry.events())
    response = await registry.answer(
        "POST",
        f"{API}/models/flights/versions/{third}/promotion-requests",
        {"requested_by": "trainer", "evidence": evidence(dataset, champion=first)},
    )
    assert response.status_code == 409
    assert "the champion moved" in response.json()["message"]
    assert len(await registry.events()) == before


async def test_without_evidence_a_person_has_to_decide(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    await registry.promote("flights", first)
    made = await registry.promote("flights", second)
    assert made["outcome"] == "waiting"
    assert await registry.champion("flights") == first


async def test_a_policy_can_ask_for_a_person(registry: Registry) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": False})
    await registry.model("flights")
    version = await registry.version("flights")
    waiting = await registry.promote("flights", version)
    assert waiting["outcome"] == "waiting"
    approved = await registry.call(
        "POST", f"{API}/promotion-requests/{waiting['request_id']}/approve", {"approver": "ann"}
    )
    assert (approved["outcome"], approved["approver"]) == ("approved", "ann")
    assert await registry.champion("flights") == version
    outcomes = [event.data.outcome for event in await registry.events("PromotionDecided")]
    assert outcomes == ["waiting", "approved"]
    assert (await registry.events("ModelPromoted"))[-1].correlation_id == waiting["correlation_id"]


@pytest.mark.parametrize("approver", ["trainer", " Trainer ", "TRAINER"])
async def test_nobody_approves_what_they_asked_for(registry: Registry, approver: str) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": False})
    await registry.model("flights")
    waiting = await registry.promote("flights", await registry.version("flights"))
    response = await registry.answer(
        "POST", f"{API}/promotion-requests/{waiting['request_id']}/approve", {"approver": approver}
    )
    assert response.status_code == 403
    assert await registry.champion("flights") is None


async def test_the_database_itself_refuses_a_self_approval(registry: Registry) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": False})
    await registry.model("flights")
    waiting = await registry.promote("flights", await registry.version("flights"))
    with pytest.raises(asyncpg.CheckViolationError, match="approver_is_not_requester"):
        await registry.pool.execute(
            "insert into promotion_approval values (gen_random_uuid(), 'default', $1, 'trainer',"
            " 'Trainer', 'approve', '', now())",
            waiting["request_id"],
        )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await registry.pool.execute(
            "insert into promotion_approval values (gen_random_uuid(), 'default', $1, 'somebody',"
            " 'trainer', 'approve', '', now())",
            waiting["request_id"],
        )
    with pytest.raises(asyncpg.CheckViolationError, match="has no approval"):
        await registry.pool.execute(
            "update promotion_request set state = 'approved' where project = $1", registry.project
        )


async def test_what_was_decided_stays_decided(registry: Registry) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": False})
    await registry.model("flights")
    waiting = await registry.promote("flights", await registry.version("flights"))
    path = f"{API}/promotion-requests/{waiting['request_id']}"
    rejected = await registry.call("POST", f"{path}/reject", {"approver": "bob", "comment": "no"})
    assert (rejected["outcome"], rejected["reason"]) == ("rejected", "no")
    assert (
        await registry.answer("POST", f"{path}/approve", {"approver": "ann"})
    ).status_code == 409
    with pytest.raises(asyncpg.CheckViolationError, match="already"):
        await registry.pool.execute(
            "update promotion_request set state = 'waiting' where project = $1", registry.project
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await registry.pool.execute("delete from promotion_approval")


async def test_a_promotion_supersedes_what_waits(registry: Registry) -> None:
    await registry.model("flights")
    first, second, third = [await registry.version("flights") for _ in range(3)]
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    waiting = await registry.promote("flights", second)
    await registry.promote("flights", third, evidence=evidence(dataset, champion=first))
    seen = await registry.call("GET", f"{API}/promotion-requests/{waiting['request_id']}")
    assert (seen["state"], seen["outcome"]) == ("superseded", "rejected")
    response = await registry.answer(
        "POST", f"{API}/promotion-requests/{waiting['request_id']}/approve", {"approver": "ann"}
    )
    assert response.status_code == 409
    assert await registry.champion("flights") == third


async def test_asking_again_is_the_same_request(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    once = await registry.promote("flights", first)
    again = await registry.promote("flights", first)
    assert again["request_id"] == once["request_id"]
    proof = evidence(dataset, champion=first)
    promoted = await registry.promote("flights", second, evidence=proof)
    resent = await registry.promote("flights", second, evidence=proof)
    assert (resent["request_id"], resent["outcome"]) == (promoted["request_id"], "approved")
    assert len(await registry.events("ModelPromoted")) == 2


async def test_an_unverified_version_is_never_promoted(registry: Registry) -> None:
    await registry.model("flights")
    await registry.call(
        "POST",
        f"{MLFLOW}/model-versions/create",
        {"name": "flights", "source": "mlflow-artifacts:/nothing/here"},
    )
    response = await registry.answer(
        "POST", f"{API}/models/flights/versions/1/promotion-requests", {"requested_by": "x"}
    )
    assert response.status_code == 403
    assert "unverified" in response.json()["message"]


async def test_rollback_goes_back_one_promotion_at_a_time(registry: Registry) -> None:
    await registry.model("flights")
    first, second, third = [await registry.version("flights") for _ in range(3)]
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    await registry.promote("flights", third, evidence=evidence(dataset, champion=second))
    rollback = f"{API}/models/flights/rollback"
    back = await registry.call("POST", rollback, {"requested_by": "ops", "from_version": third})
    assert (back["version"], back["previous_version"]) == (second, third)
    back = await registry.call("POST", rollback, {"requested_by": "ops"})
    assert (back["version"], back["previous_version"]) == (first, second)
    assert (await registry.answer("POST", rollback, {"requested_by": "ops"})).status_code == 409
    promoted = await registry.events("ModelPromoted")
    assert [(event.data.version, event.data.cause) for event in promoted[-2:]] == [
        (second, "rollback"),
        (first, "rollback"),
    ]


async def test_a_second_rollback_of_the_same_version_is_a_conflict(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    body = {"requested_by": "ops", "from_version": second}
    answers = await asyncio.gather(
        *(registry.answer("POST", f"{API}/models/flights/rollback", body) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_history_says_who_was_champion_at_any_time(registry: Registry) -> None:
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    path = f"{API}/models/flights/aliases/champion/history"
    history = (await registry.call("GET", path))["history"]
    assert [step["version"] for step in history] == [first, second]
    when = history[0]["moved_at"].replace("+", "%2B")
    then = await registry.call("GET", f"{API}/models/flights/champion?at={when}")
    assert then["version"] == first
    too_early = await registry.answer("GET", f"{API}/models/flights/champion?at=2001-01-01T00:00Z")
    assert too_early.status_code == 404
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await registry.pool.execute("update alias_event set actor = 'nobody'")


async def test_of_many_racing_promotions_one_wins_against_each_champion(
    registry: Registry,
) -> None:
    await registry.model("flights")
    first = await registry.version("flights")
    challengers = [await registry.version("flights") for _ in range(6)]
    dataset = await registry.dataset("labelled")
    await registry.promote("flights", first)
    proof = evidence(dataset, champion=first)
    answers = await asyncio.gather(
        *(
            registry.answer(
                "POST",
                f"{API}/models/flights/versions/{version}/promotion-requests",
                {"requested_by": "trainer", "evidence": proof},
            )
            for version in challengers
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    promoted = await registry.events("ModelPromoted")
    assert len(promoted) == 2
    assert promoted[-1].data.version == await registry.champion("flights")


async def test_racing_approvers_decide_once(registry: Registry) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": False})
    await registry.model("flights")
    waiting = await registry.promote("flights", await registry.version("flights"))
    path = f"{API}/promotion-requests/{waiting['request_id']}"
    answers = await asyncio.gather(
        *(
            registry.answer("POST", f"{path}/{verb}", {"approver": f"person-{place}"})
            for place, verb in enumerate(["approve", "reject", "approve", "reject"])
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    decided = [event.data.outcome for event in await registry.events("PromotionDecided")]
    assert len(decided) == 2
    assert (await registry.champion("flights") is not None) == (decided[-1] == "approved")


async def test_events_of_a_model_are_in_the_order_of_their_commits(registry: Registry) -> None:
    await registry.model("flights")
    versions = await asyncio.gather(*(registry.version("flights") for _ in range(12)))
    assert sorted(versions) == list(range(1, 13))
    created = await registry.events("ModelVersionCreated")
    assert [event.data.version for event in created] == list(range(1, 13))


async def test_a_body_with_a_misspelt_field_is_refused_by_name(registry: Registry) -> None:
    await registry.model("flights")
    await registry.version("flights")
    response = await registry.answer(
        "POST",
        f"{API}/models/flights/versions/1/promotion-requests",
        {"requested_by": "x", "evidense": None},
    )
    assert response.status_code == 400
    assert response.json()["field"] == "evidense"


@pytest.mark.parametrize("path", ["models/a%00b", "models/a%00b/policy", "datasets/a%00"])
async def test_a_name_with_a_nul_is_refused(registry: Registry, path: str) -> None:
    assert (await registry.answer("GET", f"{API}/{path}")).status_code == 400


async def test_evidence_with_a_nul_is_refused(registry: Registry) -> None:
    await registry.model("flights")
    await registry.version("flights")
    dataset = {"dataset": "d", "version": 1, "digest": f"sha256:{'0' * 64}", "rows": 1}
    response = await registry.answer(
        "POST",
        f"{API}/models/flights/versions/1/promotion-requests",
        {"requested_by": "x", "evidence": evidence(dataset, champion=None, reasons=["a\x00"])},
    )
    assert response.status_code == 400


async def test_the_models_are_listed_with_champion_and_policy(registry: Registry) -> None:
    await registry.model("buses")
    await registry.model("flights")
    await registry.version("flights")
    await registry.promote("flights", 1)
    policy = {"auto_promote": False, "margins": {"log_loss": 0.01}, "min_rows": 10}
    await registry.call("PUT", f"{API}/models/flights/policy", policy)
    buses, flights = (await registry.call("GET", f"{API}/models"))["models"]
    assert (buses["champion"], buses["policy"]["set"]) == (None, False)
    assert (flights["champion"], flights["latest_version"]) == (1, 1)
    assert flights["policy"] == {**policy, "set": True}
    assert await registry.call("GET", f"{API}/models/flights") == flights


async def test_a_rollout_that_proved_its_canary_has_it_promoted(registry: Registry) -> None:
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))
    version = await registry.version("flights")
    moved = _rolled_out(registry, version=version, champion=9)
    async with registry.resources.bus.transaction(Caller.by(moved)) as tx:
        await on_rollout_changed(moved, tx)
    assert await registry.champion("flights") == 1
    proven = _rolled_out(registry, version=version, champion=1)
    async with registry.resources.bus.transaction(Caller.by(proven)) as tx:
        await on_rollout_changed(proven, tx)
    assert await registry.champion("flights") == version
    (_, decided) = await registry.events("PromotionDecided")
    assert (decided.data.outcome, decided.data.reason) == ("approved", "errors: as good")
    assert decided.correlation_id == proven.correlation_id


@pytest.mark.parametrize(("proven", "outcome"), [(True, "approved"), (False, "waiting")])
async def test_a_winner_is_promoted_if_its_experiment_proved_it(
    registry: Registry, proven: bool, outcome: str
) -> None:
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))
    version = await registry.version("flights")
    concluded = _concluded(registry, version=version, proven=proven)
    async with registry.resources.bus.transaction(Caller.by(concluded)) as tx:
        await on_experiment_changed(concluded, tx)
    decided = (await registry.events("PromotionDecided"))[-1]
    assert (decided.data.version, decided.data.outcome) == (version, outcome)
    assert await registry.champion("flights") == (version if proven else 1)


def _concluded(registry: Registry, *, version: int, proven: bool) -> Event[Any]:
    return arriving(
        ExperimentChanged(
            project=registry.project,
            experiment_id="e-1",
            model="flights",
            experiment="colours",
            action="conclude",
            metric="reward",
            goal="maximize",
            alpha=0.05,
            arms=[],
            champion_version=1,
            table_version=3,
            winner="bold",
            winner_version=version,
            proven=proven,
            reason="bold earns more",
            author="ada",
            changed_at=MORNING,
        ),
        correlation_id="turn-1",
    )


def _rolled_out(registry: Registry, *, version: int, champion: int) -> Event[Any]:
    return arriving(
        RolloutChanged(
            project=registry.project,
            rollout_id="r-1",
            model="flights",
            version=version,
            champion_version=champion,
            action="promote",
            percent=50,
            alpha=0.05,
            reason="errors: as good",
            author="ada",
            changed_at=MORNING,
        ),
        correlation_id="turn-1",
    )
