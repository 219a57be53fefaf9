"""The console on recorded events, looked at with a real browser where one is installed."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from headrace.runtime.clock import SystemClock
from headrace.runtime.service.http import application
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.telemetry import Metrics, configure_logs
from services.console.app import Console, service
from services.console.domain.facts import Fact
from services.console.settings import Settings
from tests.harness.inside import free_port
from tests.harness.recorded import Recorded

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOG = configure_logs(service="console", level="warning")
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Served:
    """A console that answers on a port, and takes events while it does."""

    console: Console
    settings: Settings
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    server: uvicorn.Server | None = None
    thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"

    def tell(self, events: Sequence[Recorded]) -> None:
        """Fold events as if they had just come."""
        self.within(lambda: self._fold(events))

    def within(self, work: Callable[[], None]) -> None:
        """Do something inside the console's event loop and wait for it."""

        async def do() -> None:
            work()

        asyncio.run_coroutine_threadsafe(do(), self.loop).result(10)

    def _fold(self, events: Sequence[Recorded]) -> None:
        for event in events:
            self.console.live.facts.fold(Fact.of(event.envelope, event.data))
        self.console.live.revision += 1

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        for _ in range(1000):
            if self.server is not None and self.server.started:
                return
            threading.Event().wait(0.01)
        raise AssertionError("the console did not start")

    def stop(self) -> None:
        assert self.server is not None
        assert self.thread is not None
        self.server.should_exit = True
        asyncio.run_coroutine_threadsafe(self.console.boards.close(), self.loop).result(10)
        self.thread.join(15)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        resources: Resources[Any] = Resources(
            settings=self.settings,
            clock=SystemClock(),
            log=LOG,
            metrics=Metrics(),
        )
        wired: Service[Any] = service(self.settings, self.console)
        config = uvicorn.Config(
            application(wired, resources, tails=()),
            port=self.settings.http_port,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        self.server = uvicorn.Server(config)
        try:
            self.loop.run_until_complete(self._serve(self.server))
        finally:
            self.loop.close()

    async def _serve(self, server: uvicorn.Server) -> None:
        refreshing = asyncio.create_task(self.console.refresh(LOG))
        await server.serve()
        refreshing.cancel()


def console_on(port: int) -> Served:
    settings = Settings(
        http_port=port,
        kafka="127.0.0.1:9",
        front_url=NOWHERE,
        registry_url=NOWHERE,
        orchestrator_url=NOWHERE,
        monitoring_url=NOWHERE,
        serving_url=NOWHERE,
    )
    return Served(console=Console(settings), settings=settings)


@pytest.fixture
def served() -> Iterator[Served]:
    console = console_on(free_port())
    console.start()
    yield console
    console.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a module, no longer: while it lives, no other test can run an event loop."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A desktop page; the test fails on any error that the browser reports."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(10_000)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    yield opened
    context.close()
    assert faults == []
