"""What Kafka cannot tell: whether the processes answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import httpx
import orjson

State = Literal["unknown", "ready", "not ready", "down"]
POLL_SECONDS: Final = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """One process, as its readiness said last."""

    name: str
    state: State = "unknown"
    detail: str = ""


class HealthPoll:
    """Asks each address every few seconds; `all` is the latest answer of each."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._latest = {name: Health(name=name) for name in addresses}

    @property
    def all(self) -> tuple[Health, ...]:
        return tuple(self._latest.values())

    async def run(self) -> None:
        """Poll until cancelled."""
        async with httpx.AsyncClient(timeout=2.0) as client:
            while True:
                found = await asyncio.gather(
                    *(self._ask(client, name, url) for name, url in self._addresses.items())
                )
                self._latest = {health.name: health for health in found}
                await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, client: httpx.AsyncClient, name: str, url: str) -> Health:
        try:
            answer = await client.get(url)
        except httpx.HTTPError as error:
            return Health(name=name, state="down", detail=type(error).__name__)
        if answer.status_code == httpx.codes.OK:
            return Health(name=name, state="ready")
        if answer.status_code == httpx.codes.BAD_GATEWAY:
            return Health(name=name, state="down", detail="the front door cannot reach it")
        return Health(name=name, state="not ready", detail=_why(answer))


def _why(answer: httpx.Response) -> str:
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return f"status {answer.status_code}"

    reasons = document.get("reasons") if isinstance(document, dict) else None
    return ", ".join(map(str, reasons or [])) or f"status {answer.status_code}"
