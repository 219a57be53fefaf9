"""What a sandboxed model may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`memory` is address space in bytes; a call waits `run_seconds` at most, then runs as long.

    A process that spends `idle_cpu_seconds` of CPU without being asked anything is killed.
    """

    memory: int = 4 * 1024**3
    cores: int = 1
    load_seconds: float = 45.0
    run_seconds: float = 10.0
    idle_cpu_seconds: float = 5.0
    answer_bytes: int = 256 * 1024**2


DEFAULT_LIMITS: Final = Limits()
