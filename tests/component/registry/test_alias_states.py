"""The state topic says where every alias points, from the transaction that moved it."""

from __future__ import annotations

from services.registry.api.alias_states import tell_untold
from tests.component.registry.conftest import API, MLFLOW, Published, Registry


async def states(registry: Registry) -> list[Published]:
    return await registry.events("ModelAliasState")


async def delete(registry: Registry, path: str, **body: str) -> None:
    await registry.call("DELETE", f"{MLFLOW}/{path}", body)


async def set_alias(registry: Registry, alias: str, version: int) -> None:
    body = {"name": "flights", "alias": alias, "version": str(version)}
    await registry.call("POST", f"{MLFLOW}/registered-models/alias", body)


async def test_a_promotion_tells_the_whole_state_beside_the_event(registry: Registry) -> None:
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))

    (promoted,) = await registry.events("ModelPromoted")
    (state,) = await states(registry)

    assert state.key == f"{registry.project}/flights/champion"
    assert (state.data.version, state.data.cause) == (1, "promotion")
    assert (state.data.files, state.data.digest) == (promoted.data.files, promoted.data.digest)
    assert state.data.moved_at == promoted.data.promoted_at
    assert state.data.promoted_event == state.causation_id == promoted.id
    assert state.correlation_id == promoted.correlation_id


async def test_a_champion_state_says_where_a_rollback_leads(registry: Registry) -> None:
    await registry.model("flights")
    for _ in range(3):
        version = await registry.version("flights")
        request = await registry.promote("flights", version)
        if request["outcome"] == "waiting":
            path = f"{API}/promotion-requests/{request['request_id']}/approve"
            await registry.call("POST", path, {"approver": "ops"})
    await delete(registry, "model-versions/delete", name="flights", version="2")
    await registry.call("POST", f"{API}/models/flights/rollback", {"requested_by": "ops"})

    told = [(state.data.version, state.data.rollback_version) for state in await states(registry)]

    assert told == [(1, None), (2, 1), (3, 2), (3, 1), (1, None)]


async def test_a_free_alias_has_a_state_until_it_is_taken_away(registry: Registry) -> None:
    await registry.model("flights")
    await registry.version("flights")
    await set_alias(registry, "shadow", 1)
    await delete(registry, "registered-models/alias", name="flights", alias="shadow")

    there, gone = await states(registry)

    assert (there.data.version, there.data.cause, there.data.promoted_event) == (1, "set", None)
    assert (gone.key, gone.data) == (there.key, None)


async def test_a_renamed_model_leaves_no_state_under_its_old_name(registry: Registry) -> None:
    await registry.model("flights")
    await registry.version("flights")
    await set_alias(registry, "shadow", 1)
    body = {"name": "flights", "new_name": "planes"}
    await registry.call("POST", f"{MLFLOW}/registered-models/rename", body)

    (_, gone, there) = await states(registry)

    assert (gone.key, gone.data) == (f"{registry.project}/flights/shadow", None)
    assert (there.key, there.data.model) == (f"{registry.project}/planes/shadow", "planes")


async def test_a_deleted_model_leaves_no_state(registry: Registry) -> None:
    await registry.model("flights")
    await registry.version("flights")
    await set_alias(registry, "shadow", 1)
    await delete(registry, "registered-models/delete", name="flights")

    assert (await states(registry))[-1].data is None


async def test_aliases_from_before_the_state_topic_are_told_once(registry: Registry) -> None:
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))
    await set_alias(registry, "shadow", 1)
    await registry.pool.execute(
        "update alias set state_told = false where project = $1", registry.project
    )
    bus = registry.resources.bus

    told = [await tell_untold(bus, project=registry.project) for _ in range(2)]

    assert told == [2, 0]
    champion, shadow, champion_again, shadow_again = await states(registry)
    assert (champion_again.data, shadow_again.data) == (champion.data, shadow.data)
    assert champion_again.correlation_id == champion.correlation_id
