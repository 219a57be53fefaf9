"""The console's composition root."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from headrace.events.topics import SERVING_LOG
from headrace.ids import new_id
from headrace.runtime.bus import Tail
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.service import Resources, Service
from headrace.runtime.telemetry import Log
from services.console import api
from services.console.boards import Boards
from services.console.health import HealthPoll
from services.console.live import FACT_TOPICS, Live
from services.console.pages import Pages
from services.console.registry import Registry
from services.console.settings import Settings

REFRESH_SECONDS: Final = 0.5


class Console:
    """The parts of the console, wired; without I/O until they run."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.live = Live()
        self.health = HealthPoll(_addresses(settings))
        self.pages = Pages(
            live=self.live, health=lambda: self.health.all, clock=clock or SystemClock()
        )
        self.boards = Boards(render=self.pages.regions, incarnation=new_id())
        self.registry = Registry(settings.registry_url)

    def routes(self) -> list[APIRouter | Mount]:
        """Routes, static files included."""
        static = StaticFiles(directory=Path(__file__).parent / "static")
        return [
            api.router(pages=self.pages, boards=self.boards, registry=self.registry),
            Mount("/static", static, name="static"),
        ]

    async def refresh(self, log: Log) -> None:
        """Bring what is looked at up to date until cancelled; what cannot be drawn is logged."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.boards.refresh()
            except Exception:
                log.exception("refresh_failed")


def build(settings: Settings) -> Service[Settings]:
    """The console: no database, no blobs, no consumer group."""
    return service(settings, Console(settings))


def service(settings: Settings, console: Console) -> Service[Settings]:
    """The service around these parts."""

    def tails(resources: Resources[Settings]) -> list[Tail]:
        return [
            Tail(
                kafka=settings.kafka,
                topics=FACT_TOPICS,
                on_event=console.live.on_fact,
                on_tombstone=console.live.on_tombstone,
                log=resources.log,
            ),
            Tail(
                kafka=settings.kafka,
                topics=(SERVING_LOG,),
                on_event=console.live.on_prediction,
                log=resources.log,
                start="end",
            ),
        ]

    return Service(
        name="console",
        settings=settings,
        database=False,
        blobs=False,
        routes=lambda _: console.routes(),
        tails=tails,
        on_stop=lambda _: console.boards.close(),
        background=lambda resources: [
            lambda: console.refresh(resources.log),
            console.health.run,
        ],
    )


def _addresses(settings: Settings) -> dict[str, str]:
    """What is asked for health. Tracking's health is MLflow's own, seen through the front door."""
    return {
        "Tracking": f"{settings.front_url}/health",
        "Registry": f"{settings.registry_url}/readyz",
        "Orchestrator": f"{settings.orchestrator_url}/readyz",
        "Serving": f"{settings.serving_url}/readyz",
        "Monitoring": f"{settings.monitoring_url}/readyz",
        "Front door": f"{settings.front_url}/livez",
    }
