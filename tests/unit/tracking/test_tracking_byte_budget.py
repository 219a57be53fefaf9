"""What requests hold together is bounded."""

from __future__ import annotations

import pytest

from headrace.errors import Transient
from services.tracking.domain.traces.budget import ByteBudget


def hold(budget: ByteBudget, *counts: int) -> None:
    """One request that takes so many bytes, one part after another."""
    with budget.request() as take:
        for count in counts:
            take(count)


def test_a_request_beyond_the_bound_is_turned_away_and_others_go_on() -> None:
    budget = ByteBudget(100)
    with budget.request() as first:
        first(60)
        with pytest.raises(Transient, match="More than 100 bytes of spans are in hand"):
            hold(budget, 30, 30)
        first(40)


def test_what_a_failed_request_held_is_given_back() -> None:
    budget = ByteBudget(100)
    with pytest.raises(Transient):
        hold(budget, 99, 2)
    hold(budget, 100)
    hold(budget, 100)
