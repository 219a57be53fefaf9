"""Chained digests, spans and the filter reader hold for every input."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.events import FileRef
from services.registry.domain.datasets import EMPTY_DIGEST, chain, spans
from services.registry.domain.filters import parse_filter
from services.registry.domain.manifest import manifest_digest
from services.registry.domain.search import VERSIONS, Clause
from services.registry.domain.sources import parse

DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")


@given(one=st.lists(DIGESTS), two=st.lists(DIGESTS))
def test_appending_in_parts_is_appending_at_once(one: list[str], two: list[str]) -> None:
    assert chain(chain(EMPTY_DIGEST, one), two) == chain(EMPTY_DIGEST, one + two)


@given(one=st.lists(DIGESTS, max_size=5), two=st.lists(DIGESTS, max_size=5))
def test_other_segments_have_another_digest(one: list[str], two: list[str]) -> None:
    assert (chain(EMPTY_DIGEST, one) == chain(EMPTY_DIGEST, two)) == (one == two)


@given(st.lists(st.integers(1, 50)))
def test_spans_hold_the_same_ordinals_in_the_same_order(ordinals: list[int]) -> None:
    runs = spans(ordinals)
    assert [n for first, last in runs for n in range(first, last + 1)] == ordinals
    assert all(one[1] + 1 != two[0] for one, two in pairwise(runs))


FILES = st.lists(
    st.builds(
        FileRef,
        path=st.text(min_size=1, max_size=20),
        uri=st.text(),
        digest=DIGESTS,
        size=st.integers(0, 10**12),
    ),
    max_size=6,
    unique_by=lambda file: file.path,
)


@given(files=FILES, data=st.data())
def test_a_manifest_does_not_depend_on_order_or_place(
    files: list[FileRef], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(files))
    moved = [file.model_copy(update={"uri": "s3://elsewhere"}) for file in shuffled]
    assert manifest_digest(moved) == manifest_digest(files)


@given(st.text(alphabet="name=!<>'\"`().,% _AND INLIKE0123tagsverion_\x00", max_size=60))
def test_any_filter_is_read_or_refused_by_name(text: str) -> None:
    with suppress(InvalidInput):
        parse_filter(text, VERSIONS)


@given(st.text(max_size=60).filter(lambda text: "\\" not in text and "'" not in text))
def test_a_quoted_value_comes_back_as_it_was(text: str) -> None:
    assert parse_filter(f"name = '{text}'", VERSIONS) == [
        Clause(kind="attribute", key="name", op="=", value=text)
    ]


@given(st.one_of(st.text(max_size=80), st.text(alphabet="models:/runs@[]%2.s3\x00", max_size=40)))
def test_any_source_is_understood_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        parse(text, bucket="headrace")
