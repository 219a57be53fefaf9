"""Webhooks of the unmodified `mlflow` client, told over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from starlette.responses import RedirectResponse, Response

from headrace.ids import new_id
from services.registry.webhooks.sender import Sender
from tests.component.registry.conftest import API, MLFLOW, Registry
from tests.harness.bus import until
from tests.harness.receiver import Message, Receiver, accept, free_port


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[MlflowClient]:
    async with registry.served() as url:
        yield MlflowClient(tracking_uri=url, registry_uri=url)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(port=free_port()).running() as running:
        yield running


@pytest.fixture
async def working(registry: Registry) -> AsyncIterator[None]:
    async with registry.working():
        yield


async def hook(registry: Registry, url: str, *events: str, **fields: Any) -> str:
    """A webhook by its id."""
    entities = [event.upper().split(".") for event in events]
    body = {
        "name": "hook",
        "url": url,
        "events": [{"entity": entity, "action": action} for entity, action in entities],
        **fields,
    }
    made = await registry.call("POST", f"{MLFLOW}/webhooks", body)
    return str(made["webhook"]["webhook_id"])


async def deliveries(registry: Registry, webhook: str, **query: str) -> list[Any]:
    """Newest first."""
    path = f"{API}/webhooks/{webhook}/deliveries"
    response = await registry.http.get(path, params=query)
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["deliveries"]
    return found


async def ended(registry: Registry, webhook: str, count: int) -> list[Any]:
    """The deliveries of a webhook once so many have ended."""

    async def enough() -> bool:
        found = await deliveries(registry, webhook)
        return len([one for one in found if one["state"] != "waiting"]) >= count

    await until(enough, what=f"{count} deliveries to end")
    return await deliveries(registry, webhook)


def busy(times: int) -> Callable[[Message], Response]:
    """Too busy for the first requests."""
    left = [times]

    def answer(message: Message) -> Response:
        left[0] -= 1
        return Response("busy", status_code=503) if left[0] >= 0 else accept(message)

    return answer


async def test_webhooks_live_and_die_as_the_client_expects(client: MlflowClient) -> None:
    def life() -> None:
        made = client.create_webhook(
            name="ci",
            url="https://example.com/hook",
            events=["registered_model.created", "model_version.created"],
            description="builds",
            secret="s3cret",
        )
        assert (made.name, made.status.value, made.description) == ("ci", "ACTIVE", "builds")
        assert made.secret is None
        seen = client.get_webhook(made.webhook_id)
        assert [str(event) for event in seen.events] == [
            "registered_model.created",
            "model_version.created",
        ]
        assert seen.creation_timestamp == made.creation_timestamp > 0
        changed = client.update_webhook(
            made.webhook_id, name="cd", events=["prompt.created"], status="DISABLED"
        )
        assert (changed.name, changed.url, changed.description, changed.status.value) == (
            "cd",
            "https://example.com/hook",
            "builds",
            "DISABLED",
        )
        assert [str(event) for event in changed.events] == ["prompt.created"]
        other = client.create_webhook(
            name="two", url="https://example.com/2", events=["prompt.created"]
        )
        first = client.list_webhooks(max_results=1)
        rest = client.list_webhooks(max_results=1, page_token=first.token)
        assert [hook.name for hook in [*first, *rest]] == ["two", "cd"]
        assert not rest.token
        client.delete_webhook(made.webhook_id)
        assert [hook.webhook_id for hook in client.list_webhooks()] == [other.webhook_id]
        with pytest.raises(MlflowException, match=f"Webhook with ID {made.webhook_id} not found"):
            client.get_webhook(made.webhook_id)

    await asyncio.to_thread(life)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "-x"}, "Webhook name '-x' is invalid"),
        ({"name": ""}, "Missing value for required parameter 'name'"),
        ({"url": "ftp://example.com"}, "Invalid webhook URL scheme: 'ftp'"),
        ({"url": "https://"}, "must include a hostname"),
        ({"url": "https://user:pass@example.com"}, "must not carry a user name"),
        ({"url": "http://169.254.169.254/latest"}, "link-local"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "link-local"),
        ({"url": "http://10.0.0.1/"}, "HEADRACE_REGISTRY_WEBHOOK_NETWORKS"),
        ({"url": "http://2130706433/"}, "read as an address"),
        ({"events": []}, "non-empty list"),
        ({"events": [{"entity": "MODEL_VERSION", "action": "EXCEEDED"}]}, "Invalid action"),
        ({"status": "SLEEPY"}, "status"),
        ({"secret": "x" * 5001}, "'secret' exceeds the maximum length"),
    ],
)
async def test_what_no_webhook_can_be_is_refused(
    registry: Registry, fields: dict[str, Any], words: str
) -> None:
    body = {
        "name": "hook",
        "url": "https://example.com",
        "events": [{"entity": "PROMPT", "action": "CREATED"}],
        **fields,
    }
    response = await registry.answer("POST", f"{MLFLOW}/webhooks", body)
    assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert words in response.json()["message"]


@pytest.mark.usefixtures("working")
async def test_every_change_of_a_model_is_told_in_order(
    client: MlflowClient, receiver: Receiver
) -> None:
    def change() -> None:
        client.create_webhook(
            name="all",
            url=receiver.url,
            events=[
                "registered_model.created",
                "model_version.created",
                "model_version_tag.set",
                "model_version_tag.deleted",
                "model_version_alias.created",
                "model_version_alias.deleted",
            ],
        )
        client.create_registered_model("flights", tags={"team": "ops"}, description="late?")
        client.create_model_version("flights", "dummy", run_id="r1", tags={"a": "1"})
        client.set_model_version_tag("flights", "1", "b", "2")
        client.delete_model_version_tag("flights", "1", "b")
        client.delete_model_version_tag("flights", "1", "never-there")
        client.set_registered_model_tag("flights", "team", "ml")
        client.set_registered_model_alias("flights", "shadow", "1")
        client.delete_registered_model_alias("flights", "shadow")

    await asyncio.to_thread(change)
    await until(lambda: len(receiver.messages) >= 6, what="six messages")
    assert [(message.event, message.data) for message in receiver.messages] == [
        (
            "registered_model.created",
            {"name": "flights", "tags": {"team": "ops"}, "description": "late?"},
        ),
        (
            "model_version.created",
            {
                "name": "flights",
                "version": "1",
                "source": "dummy",
                "run_id": "r1",
                "tags": {"a": "1"},
                "description": None,
            },
        ),
        ("model_version_tag.set", {"name": "flights", "version": "1", "key": "b", "value": "2"}),
        ("model_version_tag.deleted", {"name": "flights", "version": "1", "key": "b"}),
        ("model_version_alias.created", {"name": "flights", "alias": "shadow", "version": "1"}),
        ("model_version_alias.deleted", {"name": "flights", "alias": "shadow"}),
    ]
    assert len({message.id for message in receiver.messages}) == 6


@pytest.mark.usefixtures("working")
async def test_a_promotion_is_told_as_a_move_of_the_champion_alias(
    registry: Registry, receiver: Receiver
) -> None:
    await hook(registry, receiver.url, "model_version_alias.created")
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))
    await until(lambda: bool(receiver.messages), what="the message")
    assert receiver.messages[0].data == {"name": "flights", "alias": "champion", "version": "1"}


@pytest.mark.usefixtures("working")
async def test_a_receiver_can_check_who_sent_a_message(
    registry: Registry, receiver: Receiver
) -> None:
    await hook(registry, receiver.url, "registered_model.created", secret="s3cret")
    await registry.model("flüge")
    await until(lambda: bool(receiver.messages), what="the message")
    message = receiver.messages[0]
    assert message.signed_by("s3cret")
    assert message.headers["content-type"] == "application/json"
    assert message.data["name"] == "flüge"


@pytest.mark.usefixtures("working")
async def test_a_failed_message_is_sent_again_under_its_id_before_the_next_one(
    registry: Registry, receiver: Receiver
) -> None:
    receiver.answer = busy(2)
    webhook = await hook(registry, receiver.url, "registered_model.created", secret="s3cret")
    await registry.model("one")
    await registry.model("two")
    found = await ended(registry, webhook, 2)
    assert [message.data["name"] for message in receiver.messages] == ["one", "one", "one", "two"]
    assert len({message.id for message in receiver.messages[:3]}) == 1
    assert all(message.signed_by("s3cret") for message in receiver.messages)
    assert [(one["state"], one["attempts"], one["response_status"]) for one in found] == [
        ("delivered", 1, 200),
        ("delivered", 3, 200),
    ]


@pytest.mark.usefixtures("working")
async def test_a_dead_endpoint_holds_up_nobody_else(registry: Registry, receiver: Receiver) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/"
    dead = await hook(registry, nowhere, "registered_model.created")
    await hook(registry, receiver.url, "registered_model.created")
    for place in range(5):
        await registry.model(f"model-{place}")
    await until(lambda: len(receiver.messages) >= 5, seconds=5, what="five messages")
    await until(lambda: _tried(registry, dead), what="an attempt at the dead endpoint")
    found = await deliveries(registry, dead, state="waiting")
    assert len(found) == 5
    assert "ConnectError" in found[-1]["last_error"]


async def _tried(registry: Registry, webhook: str) -> bool:
    return bool((await deliveries(registry, webhook))[-1]["attempts"])


@pytest.mark.usefixtures("working")
async def test_what_a_receiver_refuses_is_kept_and_sent_again_when_somebody_asks(
    registry: Registry, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Response("no such hook", status_code=404)
    webhook = await hook(registry, receiver.url, "registered_model.created")
    await registry.model("one")
    await registry.model("two")
    found = await ended(registry, webhook, 2)
    assert {(one["state"], one["attempts"], one["last_error"]) for one in found} == {
        ("dead", 1, "answered 404: no such hook")
    }
    receiver.answer = accept
    first = found[-1]["delivery_id"]
    path = f"{API}/webhooks/{webhook}"
    again = await registry.call("POST", f"{path}/deliveries/{first}/redeliver")
    assert again == {"redelivered": 1}
    await ended(registry, webhook, 2)
    assert await registry.call("POST", f"{path}/redeliver") == {"redelivered": 1}
    found = await ended(registry, webhook, 2)
    assert {one["state"] for one in found} == {"delivered"}
    assert [message.data["name"] for message in receiver.messages] == ["one", "two", "one", "two"]
    assert receiver.messages[0].id == receiver.messages[2].id == first


@pytest.mark.usefixtures("working")
async def test_a_message_that_failed_for_too_long_is_given_up(registry: Registry) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/"
    webhook = await hook(registry, nowhere, "registered_model.created")
    await registry.model("one")
    await registry.pool.execute(
        "update webhook_delivery set give_up_at = now() where webhook_id = $1", webhook
    )
    found = await ended(registry, webhook, 1)
    assert found[0]["state"] == "dead"
    assert found[0]["attempts"] >= 1
    assert "ConnectError" in found[0]["last_error"]


async def test_a_change_that_is_refused_is_told_to_nobody(registry: Registry) -> None:
    webhook = await hook(
        registry, "https://example.com", "registered_model.created", "model_version_alias.deleted"
    )
    await registry.model("flights")
    await registry.promote("flights", await registry.version("flights"))
    for method, path, body in (
        ("POST", "registered-models/create", {"name": "flights"}),
        ("DELETE", "registered-models/alias", {"name": "flights", "alias": "champion"}),
    ):
        assert (await registry.answer(method, f"{MLFLOW}/{path}", body)).status_code >= 400
    assert [one["event"] for one in await deliveries(registry, webhook)] == [
        "registered_model.created"
    ]


async def test_a_disabled_webhook_is_told_nothing(registry: Registry) -> None:
    webhook = await hook(
        registry, "https://example.com", "registered_model.created", status="DISABLED"
    )
    await registry.model("flights")
    assert await deliveries(registry, webhook) == []


@pytest.mark.usefixtures("working")
async def test_redirects_are_not_followed(registry: Registry, receiver: Receiver) -> None:
    receiver.answer = lambda _: RedirectResponse("/elsewhere", status_code=307)
    webhook = await hook(registry, receiver.url, "registered_model.created")
    await registry.model("flights")
    await until(lambda: _tried(registry, webhook), what="an attempt")
    assert {message.path for message in receiver.messages} == {"/hook"}
    assert (await deliveries(registry, webhook))[0]["response_status"] == 307


async def test_a_test_says_what_the_receiver_answered(
    client: MlflowClient, receiver: Receiver
) -> None:
    def ask() -> None:
        made = client.create_webhook(
            name="t", url=receiver.url, events=["prompt.created"], secret="s3cret"
        )
        result = client.test_webhook(made.webhook_id)
        assert (result.success, result.response_status, result.response_body) == (
            True,
            200,
            "thanks",
        )
        other = client.test_webhook(made.webhook_id, event="model_version_tag.set")
        assert other.success

    await asyncio.to_thread(ask)
    assert receiver.events == ["prompt.created", "model_version_tag.set"]
    assert all(message.signed_by("s3cret") for message in receiver.messages)


async def test_a_name_that_leads_inside_is_not_called(receiver: Receiver) -> None:
    sender = Sender(allowed=(), seconds=5)
    answer = await sender.post(f"http://localhost:{receiver.port}/", headers={}, body="{}")
    await sender.close()
    assert answer.error is not None
    assert "localhost: " in answer.error
    assert "is not called: it is not a public address" in answer.error
    assert receiver.messages == []


async def test_a_receiver_that_does_not_answer_is_left_after_the_given_time(
    receiver: Receiver,
) -> None:
    receiver.answer = lambda _: None
    sender = Sender(allowed=(ip_network("127.0.0.0/8"),), seconds=0.3)
    headers = {"X-MLflow-Delivery-Id": "1"}
    answer = await sender.post(receiver.url, headers=headers, body="{}")
    await sender.close()
    assert answer.error == "no answer within 0.3 s"
    assert len(receiver.messages) == 1


async def test_ended_deliveries_are_forgotten_in_the_end(registry: Registry) -> None:
    webhook = await hook(registry, "https://example.com", "registered_model.created")
    for name in ("old", "new", "waiting"):
        await registry.model(name)
    await registry.pool.execute(
        "update webhook_delivery set state = 'delivered',"
        " finished_at = now() - case when body like '%old%' then interval '31 days' else"
        " interval '1 day' end where webhook_id = $1 and body not like '%waiting%'",
        webhook,
    )
    async with registry.working():
        await until(lambda: _left(registry, webhook, 2), what="the old delivery to go")


async def _left(registry: Registry, webhook: str, count: int) -> bool:
    return len(await deliveries(registry, webhook)) == count


async def test_unknown_webhooks_and_deliveries_are_not_found(registry: Registry) -> None:
    webhook = await hook(registry, "https://example.com", "prompt.created")
    for path in (
        f"{MLFLOW}/webhooks/{new_id()}",
        f"{MLFLOW}/webhooks/nonsense",
        f"{API}/webhooks/{new_id()}/deliveries",
        f"{API}/webhooks/{webhook}/deliveries/{new_id()}",
    ):
        assert (await registry.answer("GET", path)).status_code == 404
