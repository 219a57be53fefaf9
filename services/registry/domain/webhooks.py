"""Webhooks: who is told of which changes. Names and messages are MLflow's.

Source: mlflow.entities.webhook and mlflow.webhooks.types.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from headrace.errors import InvalidInput
from services.registry.domain import addresses

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.IGNORECASE)
_SCHEMES: Final = ("https", "http")
_MAX_LABEL: Final = 63
_MAX_URL: Final = 2000
_MAX_TEXT: Final = 5000

_MODEL: Final = {"name": "example_model"}
_VERSION: Final = {**_MODEL, "version": "1"}
_PROMPT: Final = {"name": "example_prompt"}
_PROMPT_VERSION: Final = {**_PROMPT, "version": "1"}
_KEY: Final = {"key": "example_key"}
_TAG: Final = {**_KEY, "value": "example_value"}
_TAGS: Final = {"tags": {"example_key": "example_value"}}
_ALIAS: Final = {"alias": "example_alias"}

EXAMPLES: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "registered_model.created": {
            **_MODEL,
            **_TAGS,
            "description": "An example registered model",
        },
        "model_version.created": {
            **_VERSION,
            "source": "models:/123",
            "run_id": "abcd1234abcd5678",
            **_TAGS,
            "description": "An example model version",
        },
        "model_version_tag.set": {**_VERSION, **_TAG},
        "model_version_tag.deleted": {**_VERSION, **_KEY},
        "model_version_alias.created": {**_MODEL, **_ALIAS, "version": "1"},
        "model_version_alias.deleted": {**_MODEL, **_ALIAS},
        "prompt.created": {**_PROMPT, **_TAGS, "description": "An example prompt"},
        "prompt_version.created": {
            **_PROMPT_VERSION,
            "template": "Hello {{name}}!",
            **_TAGS,
            "description": "An example prompt version",
        },
        "prompt_tag.set": {**_PROMPT, **_TAG},
        "prompt_tag.deleted": {**_PROMPT, **_KEY},
        "prompt_version_tag.set": {**_PROMPT_VERSION, **_TAG},
        "prompt_version_tag.deleted": {**_PROMPT_VERSION, **_KEY},
        "prompt_alias.created": {**_PROMPT, **_ALIAS, "version": "1"},
        "prompt_alias.deleted": {**_PROMPT, **_ALIAS},
    }
)
"""Every event that a webhook may ask for, `entity.action`, with the data a test of it sends."""


class Status(StrEnum):
    """Whether a webhook is told of anything."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A receiver; `events` are keys of EXAMPLES. The secret signs and is never shown."""

    id: str
    project: str
    name: str
    url: str
    events: tuple[str, ...]
    description: str | None
    secret: str | None
    status: Status
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """A change that receivers are told of; `event` is a key of EXAMPLES."""

    event: str
    data: Mapping[str, object]


def check_name(name: str) -> str:
    """The name itself. Raises InvalidInput for what MLflow refuses."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"Webhook name {name!r} is invalid. It must start and end with a letter or digit, "
            "be less than 63 characters long, and contain only letters, digits, dots (.), "
            "underscores (_), and hyphens (-).",
            field="name",
        )
    return name


def check_url(url: str, *, allowed: addresses.Networks) -> str:
    """The URL itself. A host name is looked up at each call, an address is judged here already.

    Raises InvalidInput.
    """
    if not url.strip():
        raise InvalidInput(f"Webhook URL cannot be empty or just whitespace: {url!r}", field="url")
    try:
        parsed = urllib.parse.urlsplit(url)
        host, _ = parsed.hostname, parsed.port
    except ValueError as error:
        raise InvalidInput(f"Invalid webhook URL {url!r}: {error!r}", field="url") from error
    if parsed.scheme not in _SCHEMES:
        raise InvalidInput(
            f"Invalid webhook URL scheme: {parsed.scheme!r}. "
            f"Allowed schemes are: {', '.join(_SCHEMES)}.",
            field="url",
        )
    if not host:
        raise InvalidInput(f"Webhook URL must include a hostname: {url!r}", field="url")
    if parsed.username or parsed.password:
        raise InvalidInput(
            "Webhook URL must not carry a user name or password; give a secret instead.",
            field="url",
        )
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(
            f"Webhook URL must be at most {_MAX_URL} printable ASCII characters without spaces.",
            field="url",
        )
    if not all(0 < len(label) <= _MAX_LABEL for label in host.removesuffix(".").split(".")):
        raise InvalidInput(
            f"Invalid webhook URL {url!r}: each part of its host name must have 1 to "
            f"{_MAX_LABEL} characters.",
            field="url",
        )
    reason = addresses.literal_trouble(host, allowed)
    if reason:
        raise InvalidInput(f"Invalid webhook URL {url!r}: {reason}", field="url")
    return url


def check_text(field: str, text: str | None) -> str | None:
    """A description or secret, None when empty. Raises InvalidInput for one that is too long."""
    if text and len(text) > _MAX_TEXT:
        raise InvalidInput(
            f"'{field}' exceeds the maximum length of {_MAX_TEXT} characters", field=field
        )
    return text or None


def event_of(entity: str, action: str) -> str:
    """The event that the protocol names by entity and action. Raises InvalidInput."""
    event = f"{entity}.{action}".lower()
    if event not in EXAMPLES:
        raise InvalidInput(
            f"Invalid action '{action.lower()}' for entity '{entity.lower()}'. "
            f"Valid events are: {sorted(EXAMPLES)}",
            field="events",
        )
    return event
