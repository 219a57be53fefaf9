"""The clock, injected so that time can be chosen in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall clock of a process."""

    def now(self) -> datetime:
        """Now, in UTC."""
        ...

    def now_ms(self) -> int:
        """Now, in whole milliseconds since the epoch."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)
