"""HTTP to the orchestrator."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import BaseModel

from headrace.errors import Conflict, HeadraceError, InvalidInput, NotFound, Transient
from headrace.runtime.telemetry import Log
from services.orchestrator.protocol import (
    Assignment,
    Claim,
    Claimed,
    Completion,
    Heartbeat,
    Hello,
    Renewed,
)

_PAUSE_SECONDS: Final = 0.3
_ERRORS: Final = {400: InvalidInput, 404: NotFound, 409: Conflict}


@dataclass(kw_only=True)
class Link:
    """Calls of the worker protocol. What is not answered now raises Transient."""

    http: httpx.AsyncClient
    log: Log

    @classmethod
    def to(cls, url: str, log: Log) -> Link:
        """A link to the orchestrator at this URL."""
        http = httpx.AsyncClient(
            base_url=f"{url}/api/orchestrator/v1/worker",
            timeout=httpx.Timeout(10.0, read=90.0),
            trust_env=False,
            verify=url.startswith("https:"),
        )
        return cls(http=http, log=log)

    async def hello(self, hello: Hello) -> None:
        """Say hello until the orchestrator answers."""
        await self._persist("/hello", hello)

    async def claim(self, claim: Claim) -> Assignment | None:
        """Wait for a step. Raises NotFound if hello must be said again, Conflict, Transient."""
        answer = await self._post("/claim", claim)
        return Claimed.model_validate_json(answer).assignment

    async def heartbeat(self, beat: Heartbeat) -> frozenset[int]:
        """Fences that still hold. Raises as `claim` does."""
        answer = await self._post("/heartbeat", beat)
        return frozenset(Renewed.model_validate_json(answer).fences)

    async def complete(self, completion: Completion) -> None:
        """Report until it is taken. Raises Conflict if the fence is stale, NotFound."""
        await self._persist("/complete", completion)

    async def _persist(self, path: str, message: BaseModel) -> None:
        tries = 0
        while True:
            try:
                await self._post(path, message)
            except Transient as error:
                tries += 1
                if tries in (1, 10) or tries % 100 == 0:
                    self.log.warning("orchestrator_unreachable", call=path, reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def _post(self, path: str, message: BaseModel) -> bytes:
        try:
            response = await self.http.post(
                path,
                content=message.model_dump_json(),
                headers={"content-type": "application/json"},
            )
        except httpx.TransportError as error:
            raise Transient(f"{path}: {error!r}") from error
        if response.is_success:
            return response.content
        raise _error_of(path, response)


def _error_of(path: str, response: httpx.Response) -> HeadraceError:
    kind: type[HeadraceError] = _ERRORS.get(response.status_code, Transient)
    return kind(f"{path}: HTTP {response.status_code} {response.text[:500]}")
