"""What the driver wants of the producers: a file, so that a successor reads it too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_KEYS = 6
_FOREIGN_KEYS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Produce for the round `name` until `until` (wall clock); all keys begin with the name."""

    name: str
    seed: int
    until: float

    @property
    def keys(self) -> list[str]:
        """Aggregates, which all producers change."""
        return [f"{self.name}-own-{number}" for number in range(_KEYS)]

    @property
    def foreign_keys(self) -> list[str]:
        """Keys of a producer without a database."""
        return [f"{self.name}-foreign-{number}" for number in range(_FOREIGN_KEYS)]

    def write(self, path: Path) -> None:
        """Replace the orders, whole."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The present orders; None while there are none."""
        return cls(**json.loads(path.read_text())) if path.exists() else None
