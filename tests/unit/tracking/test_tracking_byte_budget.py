"""What requests hold together is bounded."""

from __future__ import annotations

import pytest

from headrace.errors import Transient
from services.tracking.domain.budget import ByteBudget


def hold(budget: ByteBudget, *counts: int) -> None:
    """One request that takes so many bytes, one part after another."""
    with budget.request() as take:
        for count in counts:
            take(count)


def test_a_request_beyond_the_bound_is_turned_away_and_others_go_on() -> None:
    budget = ByteBudget(100, of="spans")
    with budget.request() as first:
        first(60)
        with pytest.raises(Transient, match="spans in hand have more than 100 bytes"):
            hold(budget, 30, 30)
        first(40)


def test_what_a_failed_request_held_is_given_back() -> None:
    budget = ByteBudget(100, of="spans")
    with budget.request() as other:
        other(1)
        with pytest.raises(Transient):
            hold(budget, 98, 2)
        hold(budget, 99)
        hold(budget, 99)
