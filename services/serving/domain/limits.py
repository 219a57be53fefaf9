"""What a model may use while it is proven, and for ever if it is sandboxed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`memory` is address space in bytes; a call waits `run_seconds` at most, then runs as long.

    A process that spends `idle_cpu_seconds` of CPU without being asked anything is killed. Any
    model must load and answer a smoke run within `proof_seconds`.
    """

    memory: int = 4 * 1024**3
    cores: int = 1
    load_seconds: float = 45.0
    run_seconds: float = 10.0
    idle_cpu_seconds: float = 5.0
    answer_bytes: int = 256 * 1024**2
    proof_seconds: float = 60.0


DEFAULT_LIMITS: Final = Limits()
