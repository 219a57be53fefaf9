"""Which requests go past the web framework."""

from __future__ import annotations

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from headrace.runtime.service.protocols import ByProtocol


async def _who(app: ASGIApp, path: str) -> str:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return (await client.get(path)).text


async def test_a_protocol_answers_all_below_its_first_part_and_nothing_else() -> None:
    app = ByProtocol(PlainTextResponse("framework"), {"/v2": PlainTextResponse("protocol")})
    for path in ("/v2", "/v2/", "/v2/models/a?b=/c"):
        assert await _who(app, path) == "protocol"
    for path in ("/", "/v2x", "/api/v2", "/v1/v2"):
        assert await _who(app, path) == "framework"


async def test_a_protocol_stands_aside_while_it_is_told_to() -> None:
    aside = [True]
    app = ByProtocol(
        PlainTextResponse("framework"),
        {"/v2": PlainTextResponse("protocol")},
        aside=lambda: aside[0],
    )
    assert await _who(app, "/v2") == "framework"
    aside[0] = False
    assert await _who(app, "/v2") == "protocol"
