"""Whatever is asked for in whatever order: what was used last is in memory, within the budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.serving.worker.residency import Residency, State
from tests.harness.seated_models import Source, seated

_BUDGET = 8


@given(
    sizes=st.lists(st.integers(1, 10), min_size=1, max_size=8),
    asked=st.lists(st.integers(0, 7), max_size=40),
)
def test_memory_holds_the_most_recently_used_models_that_fit(
    sizes: list[int], asked: list[int]
) -> None:
    residency = Residency(_BUDGET)
    models = [
        seated(residency, Source(), name=str(number), size=size)
        for number, size in enumerate(sizes)
    ]
    used = list(range(len(sizes)))
    for number in asked:
        model = models[number % len(sizes)]
        model.bring()
        model.release()
        used.append(number % len(sizes))
    here = {each.name for each in models if each.presence.state is State.HERE}
    assert residency.used == sum(sizes[int(name)] for name in here)
    assert residency.used <= max(_BUDGET, sizes[used[-1]])
    assert str(used[-1]) in here
    recent = list(dict.fromkeys(reversed(used)))
    oldest_here = max(recent.index(int(name)) for name in here)
    assert {str(number) for number in recent[: oldest_here + 1]} >= here
