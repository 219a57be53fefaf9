"""Whole services inside the process of a test: the lifecycle that `python -m` runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from headrace.runtime.service import Service
from headrace.runtime.service.lifecycle import serve
from headrace.runtime.telemetry import configure_logs
from tests.harness.bus import until


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(service: Service[Any]) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service until the block ends; a client of it once it is ready."""
    stop = asyncio.Event()
    log = configure_logs(service=service.name, level="warning")
    life = asyncio.create_task(serve(service, log=log, stop=stop))
    address = f"http://127.0.0.1:{service.settings.http_port}"
    async with httpx.AsyncClient(base_url=address, timeout=20) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(ready, seconds=40, what=f"a ready {service.name}")
            yield client
        finally:
            stop.set()
    await asyncio.wait_for(life, 20)
