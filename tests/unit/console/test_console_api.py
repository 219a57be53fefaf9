from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import httpx
import pytest
from starlette.routing import Mount

from headrace.runtime.clock import SystemClock
from headrace.runtime.service.http import application
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.telemetry import Metrics, configure_logs
from services.console.app import Console, service
from services.console.domain.facts import Fact
from services.console.settings import Settings
from tests.harness.recorded import Recorded, recorded_year

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def settings() -> Settings:
    return Settings(
        http_port=0,
        kafka="127.0.0.1:9",
        front_url=NOWHERE,
        registry_url=NOWHERE,
        orchestrator_url=NOWHERE,
        monitoring_url=NOWHERE,
        serving_url=NOWHERE,
    )


@pytest.fixture
def console(settings: Settings) -> Console:
    return Console(settings)


@pytest.fixture
async def client(settings: Settings, console: Console) -> AsyncIterator[httpx.AsyncClient]:
    resources: Resources[Any] = Resources(
        settings=settings,
        clock=SystemClock(),
        log=configure_logs(service="console", level="warning"),
        metrics=Metrics(),
    )
    wired: Service[Any] = service(settings, console)
    app = application(wired, resources, tails=())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as made:
        yield made


def tell(console: Console, events: list[Recorded]) -> None:
    for event in events:
        console.live.facts.fold(Fact.of(event.envelope, event.data))
    console.live.revision += 1


async def test_the_empty_page_says_what_to_do_next(client: httpx.AsyncClient) -> None:
    page = await client.get("/")

    assert page.status_code == 200
    assert "make demo" in page.text
    assert "Nothing has turned yet" in page.text


async def test_the_page_tells_champion_turns_and_alerts(
    client: httpx.AsyncClient, console: Console
) -> None:
    tell(console, recorded_year(last=date(2013, 5, 15)))

    page = (await client.get("/?model=flights")).text

    assert re.search(r'class="big">v3<', page)
    assert "v3 answered 14.1 s after its alert" in page
    assert "Started nothing" in page
    assert page.count('class="plot"') == 4


async def test_every_shown_cause_of_a_turn_can_be_reached(
    client: httpx.AsyncClient, console: Console
) -> None:
    tell(console, recorded_year(last=date(2013, 3, 20)))

    page = (await client.get("/?model=flights")).text
    links = set(re.findall(r'data-event="([^"]+)"', page))
    targets = set(re.findall(r'id="(?:e|turn)-([^"]+)"', page))

    assert links
    assert links <= targets


async def test_names_of_models_are_text_and_never_markup(
    client: httpx.AsyncClient, console: Console
) -> None:
    events = recorded_year(last=date(2013, 2, 3))
    evil = [
        Recorded(
            envelope=event.envelope,
            data=event.data.model_copy(update={"model": "<img src=x onerror=alert(1)>'\""}),
        )
        for event in events
        if hasattr(event.data, "model")
    ]
    tell(console, evil)

    page = await client.get("/")

    assert "<img src=x" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_nothing_on_the_page_comes_from_elsewhere(
    client: httpx.AsyncClient, console: Console
) -> None:
    tell(console, recorded_year(last=date(2013, 3, 20)))
    page = (await client.get("/")).text
    style = (await client.get("/static/console.css")).text
    script = (await client.get("/static/console.js")).text

    addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"')]*", page + style + script)

    assert [own for own in addresses if "www.w3.org" not in own] == []


async def test_an_unknown_model_shows_the_first_known(
    client: httpx.AsyncClient, console: Console
) -> None:
    tell(console, recorded_year(last=date(2013, 2, 3)))

    assert "<title>flights · Headrace</title>" in (await client.get("/?model=nobody")).text


async def test_a_decision_without_a_name_is_refused_by_field(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/console/v1/promotion-requests/r/approve", json={"name": ""})

    assert answer.status_code == 400
    assert answer.json()["field"] == "name"


async def test_a_page_of_another_site_cannot_press_the_buttons(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/console/v1/models/flights/rollback",
        json={"name": "eve", "from_version": 2},
        headers={"sec-fetch-site": "cross-site"},
    )

    assert answer.status_code == 403


async def test_a_decision_says_so_when_the_registry_is_away(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/console/v1/promotion-requests/r/approve", json={"name": "ada"})

    assert answer.status_code == 503
    assert "registry does not answer" in answer.json()["message"]


async def test_an_unknown_verb_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/console/v1/promotion-requests/r/burn", json={"name": "ada"})

    assert answer.status_code == 404


def test_a_decision_joins_the_turn_of_its_request(console: Console) -> None:
    events = recorded_year(last=date(2013, 3, 20))
    tell(console, events)
    turn = next(event for event in events if event.envelope.type.endswith("DriftDetected.v1"))

    assert console.pages.chain_of("request-2")["x-correlation-id"] == turn.envelope.id
    assert console.pages.chain_of("nobody's") == {}


def test_static_files_are_served(console: Console) -> None:
    assert any(isinstance(route, Mount) for route in console.routes())
