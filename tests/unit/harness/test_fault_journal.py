"""A journal tells the truth about a process that was killed at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.journal import Intent, Journal, finished, read_journals
from tests.harness.history import Attempt, Outcome

INTENTS = [
    Intent(id="a", key="k", position=1),
    Intent(id="b", key="k", position=2, hopeless=True),
    Intent(id="c", key="k", position=3, rolls_back=True),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journals") / "one.jsonl"
    journal = Journal(path)
    journal.intend(INTENTS[:1])
    journal.acknowledge(["a"])
    journal.intend(INTENTS[1:])
    journal.finish()
    return path


def outcomes(directory: Path) -> dict[str, Outcome]:
    return {attempt.id: attempt.outcome for attempt in read_journals(directory).attempts}


def test_what_has_no_acknowledgement_is_unknown(whole: Path) -> None:
    assert outcomes(whole.parent) == {
        "a": Outcome.ACKNOWLEDGED,
        "b": Outcome.UNKNOWN,
        "c": Outcome.ROLLED_BACK,
    }


def test_attempts_keep_their_key_and_position(whole: Path) -> None:
    (first, *_) = read_journals(whole.parent).attempts
    assert first == Attempt(id="a", key="k", position=1, outcome=Outcome.ACKNOWLEDGED)


def test_hopeless_attempts_are_told_apart(whole: Path) -> None:
    assert read_journals(whole.parent).hopeless == {"b"}


def test_a_finished_journal_says_so(whole: Path, tmp_path: Path) -> None:
    assert finished(whole)
    assert not finished(tmp_path / "missing.jsonl")


@given(data=st.data())
def test_a_journal_cut_off_anywhere_claims_no_more_than_was_written(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = whole.read_bytes()
    kept = data.draw(st.integers(0, len(content) - 1))
    cut = tmp_path_factory.mktemp("cut") / "one.jsonl"
    cut.write_bytes(content[:kept])
    told = outcomes(cut.parent)
    assert not finished(cut)
    assert set(told) <= {"a", "b", "c"}
    if told.get("a") is Outcome.ACKNOWLEDGED:
        assert b'{"acknowledged": ["a"]}\n' in content[:kept]
