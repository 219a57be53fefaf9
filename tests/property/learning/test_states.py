"""A learner's state goes through its document without loss, and answers alike in numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.learning import Plan, State, decode_document, encode_document
from headrace.learning.estimator import Diverged, Estimator
from services.serving.worker.runtimes.river import RiverRuntime
from tests.harness.learned import document, feed, labels_for, learned, plans, rows

_EXAMPLES = st.lists(st.tuples(rows, st.floats(-3, 3, width=32)), min_size=1, max_size=30)


def _examples(
    plan: Plan, drawn: list[tuple[tuple[float, ...], float]]
) -> list[tuple[tuple[float, ...], float]]:
    labels = labels_for(plan, [number for _, number in drawn])
    return [(row, label) for (row, _), label in zip(drawn, labels, strict=True)]


def _learned_or_reject(
    plan: Plan, examples: list[tuple[tuple[float, ...], float]], start: State | None = None
) -> State:
    try:
        return learned(plan, examples, start)
    except Diverged:
        assume(False)
        raise


@given(plan=plans, drawn=_EXAMPLES, data=st.data())
@settings(max_examples=60)
def test_going_on_from_a_document_is_as_if_nothing_had_happened(
    plan: Plan, drawn: list[tuple[tuple[float, ...], float]], data: st.DataObject
) -> None:
    examples = _examples(plan, drawn)
    cut = data.draw(st.integers(0, len(examples)))
    undisturbed = _learned_or_reject(plan, examples)
    half = State.decode(_learned_or_reject(plan, examples[:cut]).encode())
    resumed = learned(plan, examples[cut:], half)
    assert resumed.encode() == undisturbed.encode()
    assert resumed.digest(plan) == undisturbed.digest(plan)


@given(plan=plans, drawn=_EXAMPLES, asked=st.lists(rows, min_size=1, max_size=8))
@settings(max_examples=60)
def test_a_snapshot_answers_as_river_does(
    plan: Plan,
    drawn: list[tuple[tuple[float, ...], float]],
    asked: list[tuple[float, ...]],
) -> None:
    state = _learned_or_reject(plan, _examples(plan, drawn))
    read = decode_document(encode_document(document(plan, state)))
    answers = RiverRuntime(read).run(feed(plan, np.array(asked)))
    estimator = Estimator(plan, state)
    wanted = np.array([estimator.predict(row) for row in asked])
    got = answers[1][:, 1] if plan.classifies else answers[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    if plan.classifies:
        np.testing.assert_array_equal(answers[0], got > 0.5)
