"""What a producer attempted and what came of it, truthful whenever the process is killed.

An attempt is written down before its commit, the acknowledgement after it; what has no
acknowledgement is unknown. Each line is on the disk before the process goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness.history import Attempt, Outcome

_FINISHED: Final = "finished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """One event about to be committed, or about to be rolled back on purpose.

    The first consumer refuses a `hopeless` one for ever, so it must become a dead letter.
    """

    id: str
    key: str
    position: int
    rolls_back: bool = False
    hopeless: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the journals of a round tell."""

    attempts: Sequence[Attempt]
    hopeless: frozenset[str]


class Journal:
    """One process's journal of one round."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def intend(self, intents: Sequence[Intent]) -> None:
        """Before the commit."""
        self._write([{"intent": asdict(intent)} for intent in intents])

    def acknowledge(self, ids: Sequence[str]) -> None:
        """After the commit returned."""
        self._write([{"acknowledged": list(ids)}])

    def finish(self) -> None:
        """Nothing of this process is in flight any more."""
        self._write([{_FINISHED: True}])
        self._file.close()

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        self._file.write("".join(f"{json.dumps(line)}\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())


def finished(path: Path) -> bool:
    """Whether the process that writes this journal has nothing in flight."""
    return path.exists() and any(_FINISHED in line for line in _lines(path))


def read_journals(directory: Path) -> Told:
    """All journals of a round, whatever the processes that wrote them came to."""
    lines = [line for path in sorted(directory.glob("*.jsonl")) for line in _lines(path)]
    intents = [Intent(**line["intent"]) for line in lines if "intent" in line]
    acknowledged = {id_ for line in lines for id_ in line.get("acknowledged", ())}
    return Told(
        attempts=[
            Attempt(
                id=intent.id,
                key=intent.key,
                position=intent.position,
                outcome=_outcome(intent, acknowledged),
            )
            for intent in intents
        ],
        hopeless=frozenset(intent.id for intent in intents if intent.hopeless),
    )


def _outcome(intent: Intent, acknowledged: set[str]) -> Outcome:
    if intent.rolls_back:
        return Outcome.ROLLED_BACK
    return Outcome.ACKNOWLEDGED if intent.id in acknowledged else Outcome.UNKNOWN


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines. What a kill cut off was either before its commit, or counts as unknown."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
