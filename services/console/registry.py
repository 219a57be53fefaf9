"""What a person does at the console is asked of the registry, in the person's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import httpx
import orjson

from headrace.errors import Conflict, HeadraceError, InvalidInput, NotFound, Refused, Transient

_ERRORS: Final[Mapping[int, type[HeadraceError]]] = {
    400: InvalidInput,
    403: Refused,
    404: NotFound,
    409: Conflict,
}


class Registry:
    """The registry's promotion calls. Their errors come back as the errors they were."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/registry/v1"

    async def decide(
        self, request_id: str, *, verb: str, approver: str, comment: str, chain: Mapping[str, str]
    ) -> dict[str, object]:
        """Approve or reject a waiting promotion."""
        body = {"approver": approver, "comment": comment}
        return await self._post(
            f"/promotion-requests/{quote(request_id, safe='')}/{verb}", body, chain
        )

    async def roll_back(
        self, model: str, *, from_version: int, requested_by: str, comment: str
    ) -> dict[str, object]:
        """Back to the champion before; Conflict if `from_version` is no longer the champion."""
        body = {
            "alias": "champion",
            "from_version": from_version,
            "requested_by": requested_by,
            "comment": comment,
        }
        return await self._post(f"/models/{quote(model, safe='')}/rollback", body, {})

    async def _post(
        self, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> dict[str, object]:
        try:
            async with httpx.AsyncClient(timeout=10.0) as client:
                answer = await client.post(self._url + path, json=dict(body), headers=dict(headers))
        except httpx.HTTPError as error:
            raise Transient(f"the registry does not answer ({type(error).__name__})") from error
        document = _document(answer)
        if answer.is_success:
            return document
        message = str(document.get("message") or f"the registry said {answer.status_code}")
        raise _ERRORS.get(answer.status_code, Transient)(message)


def _document(answer: httpx.Response) -> dict[str, object]:
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
