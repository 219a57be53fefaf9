"""The filter parser: what is written is read, and garbage is only ever refused."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from services.tracking.domain.paths import safe_path
from services.tracking.domain.search import RUNS, Clause, Field, clauses_of, parse_filter

KEYS = st.text(st.characters(exclude_characters="`\"'", exclude_categories=["Cs"]), min_size=1)
TEXTS = st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def metric(key: str, operator: str, value: float) -> tuple[str, Clause]:
    field = Field(entity="metric", key=key, numeric=True)
    return f"metrics.`{key}` {operator} {value!r}", Clause(
        field=field, operator=operator, value=value
    )


def texts(entity: str, key: str, operator: str, value: str) -> tuple[str, Clause]:
    field = Field(entity=entity, key=key, numeric=False)  # type: ignore[arg-type]
    return f"{entity}.\"{key}\" {operator.lower()} '{value}'", Clause(
        field=field, operator=operator, value=value
    )


def listed(operator: str, values: list[str]) -> tuple[str, Clause]:
    field = Field(entity="attribute", key="run_id", numeric=False)
    inner = ", ".join(f"'{value}'" for value in values)
    return f"run_id {operator} ({inner})", Clause(
        field=field, operator=operator, value=tuple(values)
    )


CLAUSES = st.one_of(
    st.builds(metric, KEYS, st.sampled_from([">", ">=", "<", "<=", "=", "!="]), NUMBERS),
    st.builds(
        texts,
        st.sampled_from(["parameter", "tag"]),
        KEYS,
        st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
        TEXTS,
    ),
    st.builds(listed, st.sampled_from(["IN", "NOT IN"]), st.lists(TEXTS, min_size=1, max_size=4)),
)


@given(st.lists(CLAUSES, min_size=1, max_size=5), st.sampled_from([" AND ", "\nand  "]))
def test_what_is_written_is_read(written: list[tuple[str, Clause]], glue: str) -> None:
    text = glue.join(clause for clause, _ in written)
    assert list(clauses_of(parse_filter(text, RUNS))) == [clause for _, clause in written]


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                [
                    "metrics.a",
                    "tags.",
                    ".",
                    "=",
                    ">",
                    "'x'",
                    "1",
                    "AND",
                    "IN",
                    "(",
                    ")",
                    ",",
                    "IS",
                    "NOT",
                    "NULL",
                    "`",
                    '"',
                    "run_id",
                    "attributes.x",
                    "-",
                    "LIKE",
                    "OR",
                    "metrics.min(a)",
                    "params.a",
                ]
            )
        ).map(" ".join),
    )
)
def test_garbage_is_read_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert list(clauses_of(parse_filter(text, RUNS))) or not text.strip()


@given(st.text(st.sampled_from("a/.%25eEfF2#\\: "), max_size=30))
def test_a_safe_path_stays_below_its_root(path: str) -> None:
    try:
        safe = safe_path(path)
    except InvalidInput:
        return
    assert not safe.startswith("/")
    assert ".." not in safe.split("/")
    assert "%2" not in safe or safe_path(safe) == safe
