"""Prompts of the unmodified `mlflow` client, kept as registered models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import PROMPT_EXPERIMENT_IDS_TAG_KEY
from pydantic import BaseModel

from tests.component.registry.conftest import MLFLOW, Registry
from tests.component.registry.test_webhooks import hook
from tests.harness.bus import until
from tests.harness.receiver import Receiver, free_port

pytestmark = pytest.mark.usefixtures("_uris")


class Reply(BaseModel):
    """What a prompt asks a language model for."""

    late: bool
    minutes: int


@pytest.fixture
async def url(registry: Registry) -> AsyncIterator[str]:
    async with registry.served() as address:
        yield address


@pytest.fixture
def _uris(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fluent functions talk to this registry and look for no experiment."""
    monkeypatch.setattr("mlflow.tracking.fluent._get_experiment_id", lambda: None)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(url)
    mlflow.set_registry_uri(url)
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


async def test_a_text_prompt_is_loaded_by_version_alias_and_as_the_latest() -> None:
    def life() -> None:
        first = mlflow.genai.register_prompt(
            name="delay", template="Is {{flight}} late?", commit_message="first", tags={"by": "me"}
        )
        assert (first.name, first.version, first.commit_message) == ("delay", 1, "first")
        second = mlflow.genai.register_prompt(name="delay", template="{{flight}}: late?")
        assert second.version == 2
        mlflow.genai.set_prompt_alias("delay", alias="production", version=1)
        for found in (
            mlflow.genai.load_prompt("delay", version=1),
            mlflow.genai.load_prompt("prompts:/delay/1"),
            mlflow.genai.load_prompt("prompts:/delay@production"),
        ):
            assert (found.template, found.tags) == ("Is {{flight}} late?", {"by": "me"})
            assert found.variables == {"flight"}
            assert found.format(flight="UA1") == "Is UA1 late?"
        assert mlflow.genai.load_prompt("prompts:/delay@latest").version == 2
        mlflow.genai.delete_prompt_alias("delay", alias="production")
        with pytest.raises(MlflowException, match="production"):
            mlflow.genai.load_prompt("prompts:/delay@production", cache_ttl_seconds=0)
        assert mlflow.genai.load_prompt("nope", version=1, allow_missing=True) is None

    await asyncio.to_thread(life)


async def test_a_chat_prompt_keeps_messages_response_format_and_model() -> None:
    messages = [
        {"role": "system", "content": "You know {{airport}}."},
        {"role": "user", "content": "{{question}}"},
    ]

    def life() -> None:
        mlflow.genai.register_prompt(
            name="chat",
            template=messages,
            response_format=Reply,
            model_config={"model_name": "small", "temperature": 0.1},
        )
        found = mlflow.genai.load_prompt("chat", version=1)
        assert found.template == messages
        assert found.response_format == Reply.model_json_schema()
        assert found.model_config == {"model_name": "small", "temperature": 0.1}
        filled = found.format(airport="EWR", question="late?")
        assert [message["content"] for message in filled] == ["You know EWR.", "late?"]

    await asyncio.to_thread(life)


async def test_tags_of_prompts_and_of_their_versions_are_set_and_deleted() -> None:
    client = MlflowClient()

    def life() -> None:
        mlflow.genai.register_prompt(name="delay", template="late?")
        client.set_prompt_tag("delay", "team", "ops")
        assert client.get_prompt("delay").tags["team"] == "ops"
        client.delete_prompt_tag("delay", "team")
        assert "team" not in client.get_prompt("delay").tags
        mlflow.genai.set_prompt_version_tag("delay", 1, "score", "0.9")
        assert mlflow.genai.load_prompt("delay", version=1, cache_ttl_seconds=0).tags == {
            "score": "0.9"
        }
        client.delete_prompt_version_tag("delay", 1, "score")
        assert client.get_prompt_version("delay", 1).tags == {}

    await asyncio.to_thread(life)


async def test_prompts_are_found_by_name_tag_and_experiment_and_paged() -> None:
    client = MlflowClient()

    def life() -> None:
        for name in ("delay", "delay-chat", "weather"):
            mlflow.genai.register_prompt(name=name, template="late?", tags={"kind": name[:5]})
        client.set_prompt_tag("weather", PROMPT_EXPERIMENT_IDS_TAG_KEY, ",2,7,")
        client.create_registered_model("flights")

        def names(text: str | None = None) -> list[str]:
            return [prompt.name for prompt in mlflow.genai.search_prompts(text)]

        assert names() == ["delay", "delay-chat", "weather"]
        assert names("name LIKE 'delay%'") == ["delay", "delay-chat"]
        assert names("tags.kind = 'weath'") == ["weather"]
        assert names('experiment_id = "7"') == ["weather"]
        first = client.search_prompts(max_results=2)
        rest = client.search_prompts(max_results=2, page_token=first.token)
        assert [prompt.name for prompt in [*first, *rest]] == names()
        assert [version.version for version in client.search_prompt_versions("delay")] == [1]

    await asyncio.to_thread(life)


async def test_prompts_and_their_versions_are_deleted() -> None:
    client = MlflowClient()

    def life() -> None:
        for _ in range(2):
            mlflow.genai.register_prompt(name="delay", template="late?")
        client.delete_prompt_version("delay", "2")
        assert mlflow.genai.load_prompt("prompts:/delay@latest", cache_ttl_seconds=0).version == 1
        assert mlflow.genai.register_prompt(name="delay", template="again").version == 3
        client.delete_prompt("delay")
        assert client.get_prompt("delay") is None
        assert list(client.search_prompts()) == []

    await asyncio.to_thread(life)


async def test_a_prompt_and_a_model_cannot_share_a_name(registry: Registry) -> None:
    client = MlflowClient()

    def life() -> None:
        client.create_registered_model("flights")
        with pytest.raises(MlflowException, match="exists with the same name"):
            mlflow.genai.register_prompt(name="flights", template="late?")
        mlflow.genai.register_prompt(name="delay", template="late?")
        with pytest.raises(MlflowException, match="already taken by a prompt"):
            client.create_registered_model("delay")

    await asyncio.to_thread(life)
    response = await registry.answer(
        "POST",
        f"{MLFLOW}/model-versions/create",
        {
            "name": "delay",
            "source": "s3://somewhere/else",
            "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}],
        },
    )
    assert response.status_code == 400
    assert "Prompt sources must use an MLflow placeholder" in response.json()["message"]


async def test_changes_of_prompts_have_events_of_their_own(registry: Registry) -> None:
    client = MlflowClient()

    def change() -> None:
        mlflow.genai.register_prompt(
            name="delay", template="late?", commit_message="first", tags={"by": "me"}
        )
        client.set_prompt_tag("delay", "team", "ops")
        client.delete_prompt_tag("delay", "team")
        mlflow.genai.set_prompt_version_tag("delay", 1, "score", "0.9")
        client.delete_prompt_version_tag("delay", "1", "score")
        mlflow.genai.set_prompt_alias("delay", alias="production", version=1)
        mlflow.genai.delete_prompt_alias("delay", alias="production")

    async with Receiver(port=free_port()).running() as receiver, registry.working():
        actions = {
            "prompt": ["created"],
            "prompt_version": ["created"],
            "prompt_tag": ["set", "deleted"],
            "prompt_version_tag": ["set", "deleted"],
            "prompt_alias": ["created", "deleted"],
            "registered_model": ["created"],
            "model_version": ["created"],
        }
        events = [f"{name}.{action}" for name, all_of in actions.items() for action in all_of]
        await hook(registry, receiver.url, *events)
        await asyncio.to_thread(change)
        await until(lambda: len(receiver.messages) >= 8, what="eight messages")
    assert [(message.event, message.data) for message in receiver.messages] == [
        ("prompt.created", {"name": "delay", "tags": {"by": "me"}, "description": "first"}),
        (
            "prompt_version.created",
            {
                "name": "delay",
                "version": "1",
                "template": "late?",
                "tags": {"by": "me"},
                "description": "first",
            },
        ),
        ("prompt_tag.set", {"name": "delay", "key": "team", "value": "ops"}),
        ("prompt_tag.deleted", {"name": "delay", "key": "team"}),
        (
            "prompt_version_tag.set",
            {"name": "delay", "version": "1", "key": "score", "value": "0.9"},
        ),
        ("prompt_version_tag.deleted", {"name": "delay", "version": "1", "key": "score"}),
        ("prompt_alias.created", {"name": "delay", "alias": "production", "version": "1"}),
        ("prompt_alias.deleted", {"name": "delay", "alias": "production"}),
    ]
