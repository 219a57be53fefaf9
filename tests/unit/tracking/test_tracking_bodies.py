"""Bodies: decoded as JSON says, refused when they hold what no database keeps."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from services.tracking.api.bodies import decode
from services.tracking.domain.model_notes import MAX_HISTORY, extended_history
from services.tracking.domain.names import MAX_SHOWN, invalid_value

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
documents = st.recursive(scalars, lambda one: st.lists(one) | st.dictionaries(texts, one))


@given(documents, st.booleans())
def test_what_was_encoded_is_decoded(document: object, plain: bool) -> None:
    assert decode(json.dumps(document, ensure_ascii=plain).encode()) == document


@given(documents, st.sampled_from(["\0", "a\0", "\ud800", "\udfff\ud800"]))
def test_unstorable_text_is_found_wherever_it_is(document: object, text: str) -> None:
    for bad in ({"a": [document, {"b": text}]}, {text: document}, [text]):
        with pytest.raises(InvalidInput):
            decode(json.dumps(bad).encode())


def test_words_for_numbers_that_json_lacks_are_read() -> None:
    found = decode(b'{"a": Infinity, "b": -Infinity, "c": NaN}')
    assert isinstance(found, dict)
    assert (found["a"], found["b"]) == (math.inf, -math.inf)
    assert math.isnan(found["c"])


@given(documents)
def test_a_wrong_value_is_shown_as_json_and_never_long(document: object) -> None:
    assert len(invalid_value("x", document)) <= MAX_SHOWN + 100


def test_a_wrong_value_that_json_cannot_hold_is_shown_by_its_type() -> None:
    deep: object = []
    for _ in range(500):
        deep = [deep]
    assert invalid_value("x", deep).startswith("Invalid value of type list for parameter 'x'")
    assert str(10**30) in invalid_value("x", 10**30)


def test_notes_on_models_are_kept_in_order_until_they_are_too_many() -> None:
    history = extended_history(extended_history(None, {"a": 1}), {"b": 2})
    assert json.loads(history) == [{"a": 1}, {"b": 2}]
    with pytest.raises(InvalidInput, match="may take"):
        extended_history(history, "x" * MAX_HISTORY)
