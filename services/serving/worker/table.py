"""Which models answer: an immutable table that is replaced as a whole, so that a flip is atomic."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from services.serving.worker.failure import invalid, not_found
from services.serving.worker.model import Model

if TYPE_CHECKING:
    from services.serving.worker.routing.router import Routes

_MAX_VERSION: Final = 2**63 - 1
_MAX_DIGITS: Final = 20
CHAMPION: Final = "champion"
CANARY: Final = "canary"


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstAnswer:
    """The first answer that a version gave after it became champion here."""

    prediction_id: str
    served_at_us: int


class Reign:
    """One stay of a version as champion, begun by one deployment; knows its first answer."""

    __slots__ = ("_lock", "deployment", "first", "model")

    def __init__(self, *, model: Model, deployment: int) -> None:
        self.model = model
        self.deployment = deployment
        self.first: FirstAnswer | None = None
        self._lock = threading.Lock()

    def note_first(self, answer: FirstAnswer) -> bool:
        """Remember the first answer; True for the caller whose answer it is."""
        with self._lock:
            if self.first is not None:
                return False
            self.first = answer
            return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One model name: who answers by default, and the versions that may be asked for.

    `unavailable` are versions that may not be asked for, and why; `unloaded` says why none may.
    """

    champion: Reign | None
    versions: Mapping[int, Model] = field(default_factory=dict)
    unavailable: Mapping[int, str] = field(default_factory=dict)
    unloaded: str = ""
    routes: Routes | None = None
    arms: Mapping[int, Model] = field(default_factory=dict)
    """Models by version, those of the traffic table and the champion."""
    shadows: Sequence[tuple[Model, int]] = ()
    """Models that run beside the answers, and beside how many of 10,000."""
    aliases: Mapping[str, int] = field(default_factory=dict)

    def labelled(self, label: str) -> int | None:
        """The version behind `champion`, `canary` or `@alias`; None for other texts.

        Raises Failure when such a label points to nothing here.
        """
        if label == CHAMPION:
            return self.champion.model.version if self.champion else None
        if label == CANARY and self.routes and CANARY in self.routes.versions:
            return self.routes.versions[CANARY]
        if label.startswith("@") and label[1:] in self.aliases:
            return self.aliases[label[1:]]
        if label == CANARY or label.startswith("@"):
            raise not_found(f"label '{label[:64]}' points to no version that is loaded")
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All models of this worker."""

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def answering(self, name: str, version: str) -> tuple[Model, Reign | None]:
        """The model for a request; the reign too if it is the champion that answers.

        Raises Failure: NOT_FOUND for what is not served, INVALID_ARGUMENT for a version that is
        not a number.
        """
        entry = self.entries.get(name)
        wanted = _version_of(version, entry)
        if entry is None:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        champion = entry.champion
        if champion is None:
            raise not_found(f"Request for unknown model: '{name}' has no available versions")
        if wanted is None or wanted == champion.model.version:
            return champion.model, champion
        model = entry.versions.get(wanted) or entry.arms.get(wanted)
        if model is None:
            raise not_found(f"Request for unknown model: '{name}' version {wanted} is not found")
        return model, None

    def is_ready(self, name: str, version: str) -> bool:
        """Whether such a request would be answered. Raises Failure for a malformed version."""
        entry = self.entries.get(name)
        wanted = _version_of(version, entry)
        if entry is None or entry.champion is None:
            return False
        if wanted is None:
            return entry.champion.model.presence.answers
        model = entry.versions.get(wanted) or entry.arms.get(wanted)
        return model is not None and model.presence.answers


def _version_of(text: str, entry: Entry | None) -> int | None:
    if not text:
        return None
    labelled = None if entry is None or text.isdigit() else entry.labelled(text)
    return labelled or parse_version(text)


def parse_version(text: str) -> int:
    """A model version as a number. Raises Failure as the protocol has it."""
    digits = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if digits and 0 < int(text) <= _MAX_VERSION:
        return int(text)
    raise invalid(
        f"failed to get model version from specified version string '{text[:64]}' "
        "(details: stoll), version should be an integral value > 0"
    )


class Serving:
    """The table in force. Calls read `table` once and keep what they got until they end."""

    def __init__(self) -> None:
        self.table = Table()
        self.loaded = False
        """Whether the champions that the control process named are loaded."""
        self.retiring = False
        """Whether the process is asked to stop: it still answers, but wants no new clients."""

    @property
    def ready(self) -> bool:
        """What the health protocols say of this worker."""
        return self.loaded and not self.retiring
