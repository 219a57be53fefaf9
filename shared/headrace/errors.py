"""The one error tree. Its two branches decide whether work is tried again.

HeadraceError
├── Transient              trying again may help (a backend is away, a lease was lost)
└── Permanent              trying again cannot help
├── InvalidInput       the caller sent something wrong; `field` names it
├── NotFound           what the caller named does not exist
├── Conflict           the state moved on, or what is asked contradicts it
├── Refused            a rule says no (gate, policy, digest, parity)
└── UndecodableEvent   a record that is not one of our events
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of every error that Headrace raises on purpose."""


class Transient(HeadraceError):
    """Trying again may help; the bus and the workers retry it with back-off."""


class Permanent(HeadraceError):
    """Trying again cannot help; the bus dead-letters it, a step fails at once."""


class InvalidInput(Permanent):
    """The caller sent something wrong: `field` names what, the message what was expected."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(Permanent):
    """What the caller named does not exist."""


class Conflict(Permanent):
    """What is asked contradicts the present state."""


class Refused(Permanent):
    """A rule says no: a gate, a policy, a digest or a parity check."""


class UndecodableEvent(Permanent):
    """A record whose headers or body are not one of our events."""
