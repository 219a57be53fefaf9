from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from playwright.sync_api import Page, expect

from headrace.events import PromotionDecided, PromotionRequested
from tests.harness.inside import free_port
from tests.harness.recorded import DIGEST, Recorder, emit_drift, emit_retraining, recorded_year
from tests.ui.conftest import Served, console_on

LAST = date(2013, 4, 30)


def later() -> Recorder:
    return Recorder(now=datetime.now(UTC), random=random.Random(99))


def waiting_promotion() -> Recorder:
    recorder = later()
    asked = recorder.emit(
        PromotionRequested(
            request_id="r-9",
            model="flights",
            version=9,
            requested_by="ada",
            digest=DIGEST,
            files=[],
        )
    )
    recorder.emit(
        PromotionDecided(
            request_id="r-9", model="flights", version=9, outcome="waiting", automatic=False
        ),
        turn=asked,
        cause=asked,
    )
    return recorder


@pytest.mark.parametrize("width", [390, 768, 1024, 1440])
@pytest.mark.parametrize("story", ["empty", "year"])
def test_no_width_makes_the_page_scroll_sideways(
    served: Served, page: Page, width: int, story: str
) -> None:
    if story == "year":
        served.tell(recorded_year(last=LAST))
    page.set_viewport_size({"width": width, "height": 844})

    page.goto(served.url)

    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_an_event_shows_without_a_reload(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    page.evaluate("window.same = true")
    recorder = later()

    emit_retraining(recorder, emit_drift(recorder, date(2013, 5, 1), 3), date(2013, 5, 1), 4)
    served.tell(recorder.events)

    expect(page.locator("#headline .tile-champion .big")).to_have_text("v4")
    expect(page.locator("#loop .loop-title")).to_contain_text("v4 answered")
    assert page.evaluate("window.same")


def test_a_first_model_brings_the_empty_page_to_life(served: Served, page: Page) -> None:
    page.goto(served.url)
    expect(page.locator("#loop")).to_contain_text("Nothing has turned yet")

    served.tell(recorded_year(last=date(2013, 2, 3)))

    expect(page.locator("#headline .tile-champion .big")).to_have_text("v1")


def test_a_stage_leads_to_its_event_and_the_event_to_its_cause(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)

    page.locator("#loop .stage a.event-link").last.click()
    answer = page.locator("#turns .fact.lit")
    expect(answer).to_contain_text("FirstAnswerServed")
    answer.locator("a.event-link").click()

    expect(page.locator("#turns .fact.lit", has_text="ModelDeployed")).to_be_in_viewport()


def test_an_alert_leads_to_the_turn_that_it_started(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)

    page.get_by_role("link", name="see the turn").first.click()

    expect(page.locator("#turns .fact.lit")).to_contain_text("DriftDetected")


def test_open_details_and_focus_survive_an_update(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)
    page.locator("#turns details.turn > summary").nth(1).click()
    opened = page.locator("#turns details.turn[open]").get_attribute("id")
    recorder = later()
    emit_drift(recorder, date(2013, 5, 1), 3)

    served.tell(recorder.events)

    expect(page.locator("#loop")).to_contain_text("The retrain policy is deciding")
    expect(page.locator(f"[id='{opened}'] > summary")).to_be_focused()
    assert page.locator(f"[id='{opened}']").get_attribute("open") is not None


def test_a_decision_asks_for_a_name_and_shows_why_it_failed(served: Served, page: Page) -> None:
    served.tell([*recorded_year(last=LAST), *waiting_promotion().events])
    page.goto(served.url)

    page.get_by_role("button", name="Approve", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Promote v9 of flights")
    expect(dialog.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name="Approve and promote").click()

    expect(dialog.get_by_role("alert")).to_contain_text("registry does not answer")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_focused()


def test_a_decided_promotion_takes_its_banner_away(served: Served, page: Page) -> None:
    recorder = waiting_promotion()
    served.tell([*recorded_year(last=LAST), *recorder.events])
    page.goto(served.url)
    expect(page.locator("#waiting .banner")).to_be_visible()
    turn = recorder.events[0].envelope.id
    recorder.wait(1)

    recorder.emit(
        PromotionDecided(
            request_id="r-9",
            model="flights",
            version=9,
            outcome="rejected",
            automatic=False,
            approver="ada",
        ),
        turn=turn,
    )
    served.tell(recorder.events)

    expect(page.locator("#waiting .banner")).to_have_count(0)


def test_the_theme_is_remembered(served: Served, page: Page) -> None:
    def ground() -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    page.goto(served.url)
    light = ground()

    page.get_by_role("button", name="Switch between light and dark").click()
    dark = ground()
    page.reload()

    assert light != dark
    assert ground() == dark


def test_pointing_at_a_chart_tells_its_figures(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)

    page.locator("#accuracy svg[data-plot]:visible").first.hover()

    expect(page.locator("#tip")).to_contain_text("flights-static")
    expect(page.locator("#tip")).to_have_text(re.compile(r"Mar 2013.*0\.\d{3}"))


def test_a_series_can_be_hidden_and_stays_hidden(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)

    page.get_by_role("button", name="flights-static", exact=True).click()
    served.tell(recorded_year(last=date(2013, 5, 2)))

    expect(page.locator("#accuracy [data-series='2']:visible")).to_have_count(0)
    expect(page.locator("#series-2")).to_have_attribute("aria-pressed", "false")


def test_models_are_chosen_by_keyboard(served: Served, page: Page) -> None:
    served.tell(recorded_year(last=LAST))
    page.goto(served.url)

    page.get_by_role("link", name="flights-static v1", exact=True).focus()
    page.keyboard.press("Enter")

    expect(page).to_have_title("flights-static · Headrace")
    expect(page.locator("#models a[aria-current]")).to_have_text("flights-static v1")


def test_after_a_restart_the_page_reconnects_and_shows_what_is_now(page: Page) -> None:
    port = free_port()
    first = console_on(port)
    first.start()
    first.tell(recorded_year(last=date(2013, 2, 20)))
    page.goto(first.url)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    first.stop()
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")

    second = console_on(port)
    second.start()
    second.tell(recorded_year(last=LAST))

    expect(page.locator("#headline .tile-champion .big")).to_have_text("v3")
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    second.stop()


def test_controls_have_names_and_the_page_one_heading(served: Served, page: Page) -> None:
    served.tell([*recorded_year(last=LAST), *waiting_promotion().events])
    page.goto(served.url)

    named: Callable[[str], list[str]] = lambda role: [  # noqa: E731
        control.evaluate("node => node.ariaLabel || node.textContent.trim()")
        for control in page.get_by_role(role).all()  # type: ignore[arg-type]
    ]

    assert all(named("button"))
    assert all(named("link"))
    assert page.locator("h1").count() == 1
