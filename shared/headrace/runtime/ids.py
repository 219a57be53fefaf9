"""Identifiers, as services import them."""

from headrace.ids import new_id

__all__ = ["new_id"]
