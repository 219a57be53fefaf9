"""What a caller may choose about a stack."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.sides import SIDES

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICES = (
    "tracking",
    "registry",
    "orchestrator",
    "worker",
    "serving",
    "serving-worker",
    *(side.name for side in SIDES if not side.only_with),
    "monitoring",
    "console",
)
"""What runs unless a person says otherwise."""

ON_REQUEST = tuple(side.name for side in SIDES if side.only_with)


def asked_for() -> tuple[str, ...]:
    """The services of a stack that a person starts, by the variables of that person."""
    wanted = {side.name for side in SIDES if side.wanted(os.environ)}
    return (*SERVICES, *(name for name in ON_REQUEST if name in wanted))


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to start and where.

    `services`: (): only the backends, and then no front door either.
    `environment`: further or overriding variables by process name.
    `settings`: variables HEADRACE_<PREFIX>_* for every process of that prefix, as far as the
    stack does not set them itself.
    `durable=False`: PostgreSQL skips fsync; for tests only.
    """

    directory: Path = CHECKOUT / ".headrace"
    services: tuple[str, ...] = SERVICES
    durable: bool = True
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    log_level: str = "info"
