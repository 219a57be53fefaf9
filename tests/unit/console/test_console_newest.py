from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.console.domain.newest import Newest

PUTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 20)), max_size=40)


def held(puts: list[tuple[str, int]], keep: int) -> list[tuple[str, int]]:
    newest: Newest[tuple[str, int]] = Newest(keep)
    for key, rank in puts:
        newest.put(key, (rank,), (key, rank))
    return list(newest)


@given(puts=PUTS, keep=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_what_is_held_depends_on_the_puts_and_not_on_their_order(
    puts: list[tuple[str, int]], keep: int, order: Random
) -> None:
    shuffled = [*puts, *puts[: len(puts) // 2]]
    order.shuffle(shuffled)

    assert held(puts, keep) == held(shuffled, keep)


@given(puts=PUTS, keep=st.integers(1, 6))
def test_the_highest_rank_of_each_key_is_held_up_to_the_limit(
    puts: list[tuple[str, int]], keep: int
) -> None:
    highest = {key: max(rank for own, rank in puts if own == key) for key, _ in puts}
    expected = sorted((rank, key) for key, rank in highest.items())[-keep:]

    assert [(rank, key) for key, rank in held(puts, keep)] == expected


def test_a_put_that_changes_nothing_says_so() -> None:
    newest: Newest[str] = Newest(2)

    assert newest.put("a", (1,), "first")
    assert not newest.put("a", (1,), "again")
    assert newest.put("a", (2,), "later")
    assert newest.get("a") == "later"
