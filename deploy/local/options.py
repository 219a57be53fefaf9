"""What a caller may choose about a stack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICES = (
    "tracking",
    "registry",
    "orchestrator",
    "worker",
    "serving",
    "serving-worker",
    "monitoring",
    "console",
)


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to start and where.

    `services`: (): only the backends, and then no front door either.
    `environment`: further or overriding variables by process name.
    `durable=False`: PostgreSQL skips fsync; for tests only.
    """

    directory: Path = CHECKOUT / ".headrace"
    services: tuple[str, ...] = SERVICES
    durable: bool = True
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    log_level: str = "info"
