"""What is sent to a webhook, how it is signed, and what an answer means.

Source of headers and signature: mlflow.webhooks.delivery, after standardwebhooks.com.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final

import orjson

from services.registry.domain.webhooks import Announcement

GIVE_UP_AFTER: Final = timedelta(days=3)
"""How long a delivery is tried; at least once in any case."""

_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 300.0
_LONGEST_ASKED: Final = 3600.0
_MAX_REASON: Final = 500
_COME_BACK: Final = frozenset({408, 409, 425, 429})


class State(StrEnum):
    """What has become of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message for one webhook; `id` stays the same however often it is sent."""

    id: str
    webhook_id: str
    event: str
    body: str
    state: State
    attempts: int
    response_status: int | None
    error: str | None
    created_at: datetime
    give_up_at: datetime
    attempted_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back: a status with the beginning of the body, or why nothing did."""

    status: int | None = None
    body: str = ""
    error: str | None = None
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether sending the same again cannot help."""
        status = self.status
        return status is not None and 400 <= status < 500 and status not in _COME_BACK

    @property
    def reason(self) -> str | None:
        """What went wrong in one line, None when nothing did."""
        if self.accepted:
            return None
        if self.status is None:
            return (self.error or "no answer")[:_MAX_REASON]
        return f"answered {self.status}: {self.body}"[:_MAX_REASON].rstrip(": ")


def body_of(announcement: Announcement, *, now: datetime) -> str:
    """The JSON that receivers get, and that the signature covers."""
    entity, _, action = announcement.event.partition(".")
    document = {
        "entity": entity,
        "action": action,
        "timestamp": now.isoformat(),
        "data": dict(announcement.data),
    }
    return orjson.dumps(document).decode()


def headers_of(*, delivery_id: str, body: str, secret: str | None, now: datetime) -> dict[str, str]:
    """Headers of one attempt. The time is the attempt's, so that receivers may refuse old ones."""
    timestamp = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Headrace-Webhook/1",
        "X-MLflow-Delivery-Id": delivery_id,
        "X-MLflow-Timestamp": timestamp,
    }
    if secret:
        signed = f"{delivery_id}.{timestamp}.{body}".encode()
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        headers["X-MLflow-Signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def rest_after(failures: int, answer: Answer, *, random: Random) -> timedelta:
    """How long a webhook rests after so many failures in a row, or as long as it asked for."""
    if answer.retry_after is not None:
        return timedelta(seconds=min(max(answer.retry_after, _FIRST_REST), _LONGEST_ASKED))
    bound = min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(failures, 20))
    # Half of it is fixed: full jitter would try a dead endpoint again at once.
    return timedelta(seconds=bound / 2 + random.uniform(0, bound / 2))
