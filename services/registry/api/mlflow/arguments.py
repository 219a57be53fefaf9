"""Reading MLflow's requests: query parameters of a GET, the JSON body of the rest."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson
from starlette.requests import Request

from headrace.errors import InvalidInput

_CAPITAL: Final = re.compile(r"(?<!^)([A-Z])")
_MAX_BODY: Final = 8 * 1024 * 1024
_HINT: Final = " See the API docs for more information about request parameters."


class Arguments:
    """The fields of one request. Every reader raises InvalidInput in MLflow's words.

    Names may have come in lowerCamelCase as well, as protobuf's JSON allows.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @classmethod
    async def of(cls, request: Request) -> Arguments:
        if request.method == "GET":
            query = request.query_params
            return cls({key: query.getlist(key) for key in query})
        body = await _body(request)
        if request.method == "POST":
            _check_content_type(request.headers.get("content-type"))
        return cls(_snake_case(_fields(body)))

    def has(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def required(self, name: str) -> str:
        """Text that must be there and not be empty."""
        value = self.text(name)
        if not value:
            raise InvalidInput(f"Missing value for required parameter '{name}'.{_HINT}", field=name)
        return value

    def text(self, name: str) -> str:
        """Text, empty when absent."""
        value = self._single(name)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or "\x00" in value:
            raise _wrong(name, value)
        return value

    def number(self, name: str, *, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self._single(name)
        if value is None or value == "":
            return default
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise _wrong(name, value) from None
        if number < 1 or number > most:
            raise InvalidInput(
                f"Invalid value for request parameter {name}. It must be at most {most} and at "
                f"least 1, but got value {number}",
                field=name,
            )
        return number

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        value = self._single(name)
        if value is None:
            return False
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise _wrong(name, value)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts, empty when absent."""
        value = self._fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(_is_text(item) for item in value):
            raise _wrong(name, value)
        return value

    def object(self, name: str) -> Arguments | None:
        """A JSON object, None when absent."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _wrong(name, value)
        return Arguments(_snake_case(value))

    def objects(self, name: str) -> list[Arguments]:
        """A list of JSON objects, empty when absent."""
        value = self._fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise _wrong(name, value)
        return [Arguments(_snake_case(item)) for item in value]

    def tags(self) -> dict[str, str]:
        """`tags` as a mapping; a key that stands twice keeps its last value."""
        value = self._fields.get("tags") or []
        if not isinstance(value, list):
            raise _wrong("tags", value)
        found: dict[str, str] = {}
        for tag in value:
            if not isinstance(tag, dict) or not _is_text(tag.get("key")):
                raise _wrong("tags", tag)
            text = tag.get("value", "")
            if not _is_text(text):
                raise _wrong("tags", tag)
            found[tag["key"]] = text
        return found

    def _single(self, name: str) -> Any:
        value = self._fields.get(name)
        if isinstance(value, list):
            return value[-1] if value else None
        return value


async def _body(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY:
            raise InvalidInput(f"The request body is larger than {_MAX_BODY} bytes.", field="body")
    return bytes(raw)


def _fields(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        document = orjson.loads(raw)
        if isinstance(document, str):
            document = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The request body is not JSON: {error}", field="body") from error
    if not isinstance(document, dict):
        raise InvalidInput("The request body is not a JSON object.", field="body")
    return document


def _check_content_type(content_type: str | None) -> None:
    if (content_type or "").split(";")[0].strip().lower() != "application/json":
        reason = (
            "Content-Type must be one of ['application/json']."
            if content_type
            else "Content-Type header is missing."
        )
        raise InvalidInput(f"Bad Request. {reason}", field="Content-Type")


def _snake_case(document: dict[str, Any]) -> dict[str, Any]:
    if all(name.islower() for name in document):
        return document
    members: dict[str, Any] = {}
    for name, value in document.items():
        snake = _CAPITAL.sub(r"_\1", name).lower()
        if snake in members:
            raise InvalidInput(
                f"Request specifies both '{snake}' and its other spelling; provide only one.",
                field=snake,
            )
        members[snake] = value
    return members


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\x00" not in value


def _wrong(name: str, value: object) -> InvalidInput:
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)[:500]
    return InvalidInput(
        f"Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type "
        f"'{type(value).__name__}'.{_HINT}",
        field=name,
    )
