"""The unmodified `mlflow` client against the registry behind a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from headrace.ids import new_id
from tests.component.registry.conftest import API, Registry


@pytest.fixture
async def url(registry: Registry) -> AsyncIterator[str]:
    async with registry.served() as address:
        yield address


@pytest.fixture
def client(url: str) -> MlflowClient:
    return MlflowClient(tracking_uri=url, registry_uri=url)


async def source(registry: Registry) -> str:
    prefix = f"7/models/{new_id()}/artifacts"
    await registry.blobs.put(f"artifacts/{prefix}/model.onnx", b"graph")
    await registry.blobs.put(f"artifacts/{prefix}/data/extra.bin", b"weights")
    return f"mlflow-artifacts:/{prefix}"


async def refused(call: Callable[[], object]) -> RestException:
    """The error that the client raises for a call in a thread."""
    with pytest.raises(MlflowException) as caught:
        await asyncio.to_thread(call)
    assert isinstance(caught.value, RestException)
    return caught.value


async def test_models_live_and_die_as_the_client_expects(client: MlflowClient) -> None:
    def life() -> None:
        made = client.create_registered_model("flights", tags={"team": "ops"}, description="late?")
        assert (made.name, made.description, made.tags) == ("flights", "late?", {"team": "ops"})
        client.set_registered_model_tag("flights", "team", "ml")
        client.set_registered_model_tag("flights", "tmp", "1")
        client.delete_registered_model_tag("flights", "tmp")
        client.delete_registered_model_tag("flights", "never-there")
        updated = client.update_registered_model("flights", "on time?")
        assert updated.description == "on time?"
        assert updated.last_updated_timestamp >= made.creation_timestamp
        client.rename_registered_model("flights", "arrivals")
        renamed = client.get_registered_model("arrivals")
        assert (renamed.name, renamed.tags) == ("arrivals", {"team": "ml"})
        client.delete_registered_model("arrivals")
        assert client.search_registered_models() == []
        client.create_registered_model("arrivals")

    await asyncio.to_thread(life)


async def test_versions_carry_what_they_were_made_with(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def life() -> None:
        client.create_registered_model("flights")
        began = time.time()
        made = client.create_model_version(
            "flights", where, run_id="r1", tags={"a": "1"}, description="first"
        )
        assert time.time() - began < 2.5  # READY at once: the client would poll every 3 s
        assert (made.version, made.status, made.run_id) == ("1", "READY", "r1")
        assert made.source == where
        assert client.get_model_version_download_uri("flights", "1") == where
        client.set_model_version_tag("flights", "1", "b", "2")
        client.delete_model_version_tag("flights", "1", "a")
        client.update_model_version("flights", "1", "better")
        seen = client.get_model_version("flights", "1")
        assert (seen.tags, seen.description) == ({"b": "2"}, "better")
        second = client.create_model_version("flights", where)
        assert second.version == "2"
        client.delete_model_version("flights", "2")
        assert client.create_model_version("flights", where).version == "3"
        assert [v.version for v in client.search_model_versions("name='flights'")] == ["3", "1"]

    await asyncio.to_thread(life)


async def test_a_version_knows_the_digest_of_every_file(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def register() -> None:
        client.create_registered_model("flights")
        client.create_model_version("flights", where)

    await asyncio.to_thread(register)
    seen = await registry.call("GET", f"{API}/models/flights/versions/1")
    assert seen["content"] == "verified"
    assert [file["path"] for file in seen["files"]] == ["data/extra.bin", "model.onnx"]
    for file in seen["files"]:
        assert (await registry.blobs.get_verified(file["uri"], file["digest"])) in {
            b"graph",
            b"weights",
        }
    created = (await registry.events("ModelVersionCreated"))[0]
    assert created.data.digest == seen["digest"]
    assert len(created.data.files) == 2


async def test_a_copied_version_has_the_content_of_its_source(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def copy() -> None:
        client.create_registered_model("flights")
        client.create_model_version("flights", where, run_id="r1")
        copied = client.copy_model_version("models:/flights/1", "production-flights")
        assert copied.run_id == "r1"
        assert client.get_model_version_download_uri("production-flights", "1") == where

    await asyncio.to_thread(copy)
    one = await registry.call("GET", f"{API}/models/flights/versions/1")
    two = await registry.call("GET", f"{API}/models/production-flights/versions/1")
    assert one["digest"] == two["digest"] is not None


async def test_unresolvable_sources_are_taken_as_unverified(
    client: MlflowClient, registry: Registry
) -> None:
    def register() -> list[str]:
        client.create_registered_model("flights")
        sources = [
            "s3://elsewhere/model",
            "mlflow-artifacts:/9/nothing",
            "dummy",
        ]
        made = [client.create_model_version("flights", one) for one in sources]
        assert [version.status for version in made] == ["READY"] * 3
        return [client.get_model_version_download_uri("flights", v.version) for v in made]

    places = await asyncio.to_thread(register)
    assert places[0] == "s3://elsewhere/model"
    found = await registry.call("GET", f"{API}/models/flights/versions")
    assert {version["content"] for version in found["versions"]} == {"unverified"}


async def test_a_version_may_come_from_another_by_number_alias_stage_or_as_the_latest(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def copy() -> None:
        client.create_registered_model("flights")
        for _ in range(2):
            client.create_model_version("flights", where)
        client.set_registered_model_alias("flights", "shadow", "1")
        client.transition_model_version_stage("flights", "1", "Staging")
        client.create_registered_model("copies")
        named = ("flights/1", "flights@shadow", "flights/staging", "flights/latest")
        made = [client.create_model_version("copies", f"models:/{name}") for name in named]
        assert [version.source for version in made] == [
            f"models:/flights/{number}" for number in (1, 1, 1, 2)
        ]
        assert client.get_model_version_download_uri("copies", "4") == where

    await asyncio.to_thread(copy)


async def test_sources_that_do_not_hold_what_the_client_says_are_refused(
    client: MlflowClient, registry: Registry
) -> None:
    await registry.model("flights")
    await registry.version("flights")
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    path = "/api/2.0/mlflow/registered-models/create"
    await registry.call("POST", path, {"name": "greeting", "tags": tags})
    expected = [
        ("runs:/abc/model", None, "INVALID_PARAMETER_VALUE", "The run_id request parameter must"),
        ("runs:/abc/model", "x", "INVALID_PARAMETER_VALUE", "The run_id request parameter must"),
        ("models://elsewhere/flights/1", None, "INVALID_PARAMETER_VALUE", "active model registry"),
        ("models:/flights/1", "x", "INVALID_PARAMETER_VALUE", "must match the referenced"),
        ("models:/greeting/1", None, "INVALID_PARAMETER_VALUE", "Prompt versions cannot be used"),
        ("models:/other/4", None, "RESOURCE_DOES_NOT_EXIST", "Model with name=other not found"),
        ("models:/flights/4", None, "RESOURCE_DOES_NOT_EXIST", "(name=flights, version=4)"),
    ]
    for uri, run_id, code, words in expected:

        def create(uri: str = uri, run_id: str | None = run_id) -> object:
            return client.create_model_version("flights", uri, run_id=run_id)

        error = await refused(create)
        assert (error.error_code, words in str(error)) == (code, True), error


async def test_a_file_of_a_version_is_downloaded_as_it_was_registered(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def register() -> None:
        client.create_registered_model("flights")
        client.create_model_version("flights", where)

    await asyncio.to_thread(register)
    key = where.removeprefix("mlflow-artifacts:/")
    await registry.blobs.put(f"artifacts/{key}/data/extra.bin", b"overwritten")

    async def fetch(path: str) -> httpx.Response:
        query = {"name": "flights", "version": "1", "path": path}
        return await registry.http.get("/model-versions/get-artifact", params=query)

    found = await fetch("data/extra.bin")
    assert (found.status_code, found.content) == (200, b"weights")
    assert found.headers["content-disposition"] == "attachment; filename*=UTF-8''extra.bin"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert (await fetch("data")).status_code == 404
    for unsafe in ("../x", "/etc/passwd", "data/%2e%2e/%2e%2e/x", "a#b"):
        answer = await fetch(unsafe)
        assert (answer.status_code, answer.json()["message"]) == (400, "Invalid path")


async def test_free_aliases_move_freely(client: MlflowClient, registry: Registry) -> None:
    where = await source(registry)

    def aliases() -> None:
        client.create_registered_model("flights")
        client.create_model_version("flights", where)
        client.create_model_version("flights", where)
        client.set_registered_model_alias("flights", "shadow", "1")
        client.set_registered_model_alias("flights", "shadow", "2")
        client.set_registered_model_alias("flights", "best", "2")
        by_alias = client.get_model_version_by_alias("flights", "shadow")
        assert (by_alias.version, sorted(by_alias.aliases)) == ("2", ["best", "shadow"])
        assert client.get_registered_model("flights").aliases == {"best": "2", "shadow": "2"}
        assert client.get_model_version_by_alias("flights", "latest").version == "2"
        client.delete_registered_model_alias("flights", "best")
        client.delete_registered_model_alias("flights", "never-there")
        client.delete_model_version("flights", "2")
        assert client.get_registered_model("flights").aliases == {}

    await asyncio.to_thread(aliases)
    history = await registry.call("GET", f"{API}/models/flights/aliases/shadow/history")
    assert [(step["version"], step["cause"]) for step in history["history"]] == [
        (1, "set"),
        (2, "set"),
        (None, "delete"),
    ]
    assert await registry.events("ModelPromoted") == []


async def test_the_champion_alias_opens_the_door_once(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def promote() -> None:
        client.create_registered_model("flights")
        client.create_model_version("flights", where)
        client.create_model_version("flights", where)
        client.set_registered_model_alias("flights", "champion", "1")
        client.set_registered_model_alias("flights", "champion", "1")

    await asyncio.to_thread(promote)
    promoted = await registry.events("ModelPromoted")
    assert [(event.data.version, event.data.cause) for event in promoted] == [(1, "promotion")]
    error = await refused(lambda: client.set_registered_model_alias("flights", "champion", "2"))
    assert error.error_code == "PERMISSION_DENIED"
    assert f"{API}/models/flights/versions/2/promotion-requests" in str(error)
    for forbidden in (
        lambda: client.delete_registered_model_alias("flights", "champion"),
        lambda: client.delete_model_version("flights", "1"),
        lambda: client.delete_registered_model("flights"),
        lambda: client.rename_registered_model("flights", "other"),
    ):
        assert (await refused(forbidden)).error_code == "PERMISSION_DENIED"


async def test_a_policy_closes_the_door_for_the_alias_call(
    client: MlflowClient, registry: Registry
) -> None:
    await registry.call("PUT", f"{API}/models/flights/policy", {"auto_promote": True})
    await registry.model("flights")
    await registry.version("flights")
    error = await refused(lambda: client.set_registered_model_alias("flights", "champion", "1"))
    assert error.error_code == "PERMISSION_DENIED"


@pytest.mark.filterwarnings("ignore:.*deprecated since 2.9.0:FutureWarning")
async def test_stages_are_kept_and_others_archived(
    client: MlflowClient, registry: Registry
) -> None:
    where = await source(registry)

    def stages() -> None:
        client.create_registered_model("flights")
        for _ in range(2):
            client.create_model_version("flights", where)
        client.transition_model_version_stage("flights", "1", "production")
        moved = client.transition_model_version_stage(
            "flights", "2", "Production", archive_existing_versions=True
        )
        assert moved.current_stage == "Production"
        assert client.get_model_version("flights", "1").current_stage == "Archived"
        latest = client.get_latest_versions("flights")
        assert {v.current_stage: v.version for v in latest} == {"Archived": "1", "Production": "2"}
        only = client.get_latest_versions("flights", stages=["production"])
        assert [v.version for v in only] == ["2"]

    await asyncio.to_thread(stages)


async def test_search_filters_orders_and_pages(client: MlflowClient) -> None:
    def fill() -> None:
        for name in ("alpha", "beta", "gamma"):
            client.create_registered_model(name, tags={"team": name[0]})
            for place in range(3):
                client.create_model_version(
                    name, f"dummy-{place}", run_id=f"run-{place}", tags={"n": str(place)}
                )

    def look() -> None:
        def models(filter_string: str, **more: object) -> list[str]:
            return [m.name for m in client.search_registered_models(filter_string, **more)]

        def versions(filter_string: str, **more: object) -> list[tuple[str, str]]:
            found = client.search_model_versions(filter_string, **more)
            return [(v.name, v.version) for v in found]

        assert models("name LIKE '%a'") == ["alpha", "beta", "gamma"]
        assert models("name ILIKE 'B%'") == ["beta"]
        assert models("tags.team = 'g'") == ["gamma"]
        assert models("name != 'beta'", order_by=["name DESC"]) == ["gamma", "alpha"]
        first = client.search_registered_models(max_results=2)
        rest = client.search_registered_models(max_results=2, page_token=first.token)
        assert [m.name for m in [*first, *rest]] == ["alpha", "beta", "gamma"]
        assert rest.token in (None, "")
        assert [v.version for v in first[0].latest_versions] == ["3"]
        assert versions("name='beta' AND run_id IN ('run-0', 'run-2')") == [
            ("beta", "3"),
            ("beta", "1"),
        ]
        assert versions("tags.n = '1'", order_by=["name ASC"]) == [
            ("alpha", "2"),
            ("beta", "2"),
            ("gamma", "2"),
        ]
        assert versions("version_number >= 3 AND source_path = 'dummy-2'", max_results=1) == [
            ("gamma", "3")
        ]
        assert len(versions("")) == 9

    await asyncio.to_thread(fill)
    await asyncio.to_thread(look)


async def test_errors_have_the_codes_and_words_of_mlflow(
    client: MlflowClient, registry: Registry
) -> None:
    await registry.model("flights")
    expected = [
        (
            lambda: client.get_registered_model("nope"),
            "RESOURCE_DOES_NOT_EXIST",
            "Registered Model with name=nope not found",
        ),
        (
            lambda: client.create_registered_model("flights"),
            "RESOURCE_ALREADY_EXISTS",
            "Registered Model (name=flights) already exists.",
        ),
        (
            lambda: client.get_model_version("flights", "7"),
            "RESOURCE_DOES_NOT_EXIST",
            "Model Version (name=flights, version=7) not found",
        ),
        (
            lambda: client.get_model_version("flights", "seven"),
            "INVALID_PARAMETER_VALUE",
            "Parameter 'version' must be an integer, got 'seven'.",
        ),
        (
            lambda: client.create_registered_model("a/b"),
            "INVALID_PARAMETER_VALUE",
            "Invalid model name 'a/b'. Names cannot contain '/' or ':'.",
        ),
        (
            lambda: client.get_model_version_by_alias("flights", "zzz"),
            "INVALID_PARAMETER_VALUE",
            "Registered model alias zzz not found.",
        ),
        (
            lambda: client.set_registered_model_alias("flights", "Latest", "1"),
            "INVALID_PARAMETER_VALUE",
            "'latest' alias name (case insensitive) is reserved.",
        ),
        (
            lambda: client.search_registered_models("color = 'red'"),
            "INVALID_PARAMETER_VALUE",
            "Invalid attribute key 'color' specified.",
        ),
        (
            lambda: client.search_registered_models(page_token="%%%"),
            "INVALID_PARAMETER_VALUE",
            "Invalid page token",
        ),
        (
            lambda: client.create_model_version("flights", "mlflow-artifacts:/../../etc"),
            "INVALID_PARAMETER_VALUE",
            "Invalid model version source",
        ),
        (
            lambda: client.create_model_version("nope", "dummy"),
            "RESOURCE_DOES_NOT_EXIST",
            "Registered Model with name=nope not found",
        ),
    ]
    for call, code, words in expected:
        error = await refused(call)
        assert error.error_code == code
        assert words in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Missing value for required parameter 'name'."),
        ({"name": "x", "tags": {"a": "b"}}, "parameter 'tags'"),
        ({"name": "x\x00y"}, "parameter 'name'"),
        ([1], "not a JSON object"),
        ({"name": "x", "description": "y" * 9_000_000}, "larger than"),
    ],
)
async def test_broken_requests_name_the_field(registry: Registry, body: object, words: str) -> None:
    response = await registry.answer("POST", "/api/2.0/mlflow/registered-models/create", body)
    assert response.status_code == 400
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert words in response.json()["message"]


async def test_prompts_hide_from_ordinary_search(registry: Registry, client: MlflowClient) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    path = "/api/2.0/mlflow"
    await registry.model("flights")
    await registry.call(
        "POST", f"{path}/registered-models/create", {"name": "greeting", "tags": tags}
    )
    await registry.call(
        "POST",
        f"{path}/model-versions/create",
        {"name": "greeting", "source": "dummy-source", "tags": tags},
    )

    def search() -> None:
        assert [m.name for m in client.search_registered_models()] == ["flights"]
        assert client.search_model_versions("name = 'greeting'") == []
        asked = "tags.`mlflow.prompt.is_prompt` = 'true'"
        assert [m.name for m in client.search_registered_models(asked)] == ["greeting"]
        assert [v.name for v in client.search_model_versions(asked)] == ["greeting"]

    await asyncio.to_thread(search)


async def test_the_same_idempotency_key_is_the_same_version(registry: Registry) -> None:
    await registry.model("flights")
    tags = {"headrace.idempotency_key": "run-1/register"}
    made = await asyncio.gather(*(registry.version("flights", tags=tags) for _ in range(4)))
    assert made == [1, 1, 1, 1]
    assert len(await registry.events("ModelVersionCreated")) == 1
