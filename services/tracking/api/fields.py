"""The fields of a request, whether they came as a JSON body or as query parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.datastructures import QueryParams

from headrace.errors import InvalidInput
from services.tracking.api.bodies import check_text, decode
from services.tracking.domain.names import invalid_value
from services.tracking.domain.values import integer_of, missing, number_of

_CAPITAL: Final = re.compile(r"(?<!^)([A-Z])")
_DIGITS: Final = re.compile(r"[0-9]{1,9}\Z")
_SEE: Final = "See the API docs for more information about request parameters."


class Fields:
    """Typed access by snake_case name; a wrong type raises InvalidInput naming the field.

    Names may have come in lowerCamelCase as well, as protobuf's JSON allows.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def has(self, name: str) -> bool:
        """Whether the field came, and not as null."""
        return self._members.get(name) is not None

    def text(self, name: str) -> str | None:
        """A text, or None if it did not come."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, value)
        return value

    def required(self, name: str) -> str:
        """A text that must be there and not empty."""
        value = self.text(name)
        if not value:
            raise missing(name)
        return value

    def run_id(self) -> str:
        """`run_id`, or `run_uuid` as old clients call it."""
        return self.text("run_id") or self.text("run_uuid") or self.required("run_id")

    def integer(self, name: str) -> int | None:
        """A 64-bit integer, or None if it did not come."""
        value = self._members.get(name)
        return None if value is None else integer_of(value, path=name)

    def bounded(self, name: str, *, default: int, most: int) -> int:
        """A count from 1 to `most`; `default` if it did not come."""
        value = self.integer(name)
        if value is None:
            return default
        if not 1 <= value <= most:
            bound = "a positive integer" if value < 1 else f"at most {most}"
            raise InvalidInput(
                f"Invalid value {value} for parameter '{name}' supplied. It must be {bound}",
                field=name,
            )
        return value

    def within(self, name: str, *, most: int) -> int:
        """A count from 1 to `most`; `most` if it did not come."""
        value = self.integer(name)
        if value is None:
            return most
        if not 1 <= value <= most:
            raise InvalidInput(f"{name} must be between 1 and {most}.", field=name)
        return value

    def choice(self, name: str, options: Sequence[str], *, first: int = 1) -> str | None:
        """One of the options, by name or by its number in the protocol, or None."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value in options:
            return value
        number = int(value) if isinstance(value, (int, str)) and _DIGITS.match(str(value)) else -1
        if not first <= number < first + len(options):
            reason = f"Expected one of {list(options)}."
            raise InvalidInput(f"{invalid_value(name, value, reason)} {_SEE}", field=name)
        return options[number - first]

    def real(self, name: str) -> float:
        """A number that must be there."""
        value = self._members.get(name)
        if value is None or value == "":
            raise missing(name)
        return number_of(value, path=name)

    def truth(self, name: str) -> bool:
        """A boolean; False if it did not come."""
        value = self._members.get(name)
        if value is None:
            return False
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise wrong_type(name, value)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty if it did not come."""
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(name, value)
        for item in value:
            if not isinstance(item, str):
                raise wrong_type(name, value)
        return value

    def objects(self, name: str) -> list[dict[str, object]]:
        """A list of JSON objects; empty if it did not come."""
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(name, value)
        for item in value:
            if not isinstance(item, dict):
                raise wrong_type(name, value)
        return value

    def each(self, name: str) -> list[Fields]:
        """A list of JSON objects as fields, their names in any spelling."""
        return [Fields(_snake_case(item)) for item in self.objects(name)]

    def inner(self, name: str) -> Fields | None:
        """A JSON object as fields, or None if it did not come."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, dict):
            raise wrong_type(name, value)
        return Fields(_snake_case(value)) if value is not None else None

    def mapping(self, name: str) -> dict[str, str]:
        """A JSON object of texts, its names as they are; empty if it did not come."""
        value = self._members.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise wrong_type(name, value)
        for key, text in value.items():
            if not isinstance(text, str):
                raise wrong_type(f"{name}.{key}", text)
        return value

    def json(self, name: str) -> object:
        """Whatever came; None if nothing did."""
        return self._members.get(name)

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A list of `{key, value}` objects; a missing value is empty."""
        found = []
        for index, entry in enumerate(self.objects(name)):
            key, value = entry.get("key"), entry.get("value", "")
            if key is None or key == "":
                raise missing(f"{name}[{index}].key")
            if not isinstance(key, str):
                raise wrong_type(f"{name}[{index}].key", key)
            if not isinstance(value, str):
                raise wrong_type(f"{name}[{index}].value", value)
            found.append((key, value))
        return found


class Query(Fields):
    """Fields of a GET request: what may come more than once may also come once."""

    __slots__ = ()

    def texts(self, name: str) -> list[str]:
        value = self._members.get(name)
        return [value] if isinstance(value, str) else super().texts(name)


def of_query(query: QueryParams) -> Fields:
    """Fields of a GET request: what comes more than once is a list. Raises InvalidInput."""
    members: dict[str, object] = {}
    for name in query:
        values = query.getlist(name)
        members[name] = values if len(values) > 1 else values[0]
    check_text(members)
    return Query(members)


def of_body(body: bytes) -> Fields:
    """Fields of a JSON body. Raises InvalidInput."""
    document = decode(body) if body.strip() else {}
    if isinstance(document, str):
        document = decode(document.encode())
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InvalidInput("The request body must be a JSON object.")
    return Fields(_snake_case(document))


def wrong_type(name: str, value: object) -> InvalidInput:
    """MLflow's error for a value of a wrong type."""
    hint = f" Hint: Value was of type '{type(value).__name__}'."
    return InvalidInput(f"{invalid_value(name, value, hint)} {_SEE}", field=name)


def _snake_case(document: Mapping[str, object]) -> Mapping[str, object]:
    if all(name.islower() for name in document):
        return document
    members: dict[str, object] = {}
    for name, value in document.items():
        snake = _CAPITAL.sub(r"_\1", name).lower()
        if snake in members:
            raise InvalidInput(
                f"Request specifies both '{snake}' and its other spelling; provide only one.",
                field=snake,
            )
        members[snake] = value
    return members
