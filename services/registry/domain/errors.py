"""Errors of the registry beyond the common tree."""

from __future__ import annotations

from headrace.errors import Conflict


class AlreadyExists(Conflict):
    """What is to be created exists already under that name."""
