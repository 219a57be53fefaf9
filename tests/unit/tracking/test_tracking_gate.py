"""How much is in hand at once, also of bodies whose size nobody said."""

from __future__ import annotations

import pytest

from headrace.errors import Transient
from services.tracking.api.call import Gate


def test_a_body_of_unknown_size_counts_as_it_comes() -> None:
    gate = Gate(10, most_bytes=100)
    with gate.inside(60), gate.bodies.request() as take:
        take(40)
        with pytest.raises(Transient):
            take(1)


def test_what_was_held_is_given_back() -> None:
    gate = Gate(10, most_bytes=100)
    with gate.inside(10), gate.bodies.request() as take:
        take(90)
    with gate.inside(10), gate.bodies.request() as take:
        take(90)
        with pytest.raises(Transient), gate.inside(1):
            pass


def test_one_body_alone_may_be_larger() -> None:
    with Gate(10, most_bytes=100).bodies.request() as take:
        take(60)
        take(60)
        take(60)


def test_a_call_without_a_body_is_taken_however_much_is_held() -> None:
    gate = Gate(10, most_bytes=100)
    with gate.inside(120), gate.inside(0):
        pass
