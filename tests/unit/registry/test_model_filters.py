"""The search grammar."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.registry.domain.filters import parse_filter
from services.registry.domain.search import (
    MODELS,
    VERSIONS,
    Clause,
    Order,
    page_offset,
    page_token,
    parse_order,
    wants_prompts,
)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("name='a b'", [Clause(kind="attribute", key="name", op="=", value="a b")]),
        (
            'tags.`my key` != "x" and version_number >= 3',
            [
                Clause(kind="tag", key="my key", op="!=", value="x"),
                Clause(kind="attribute", key="version_number", op=">=", value=3),
            ],
        ),
        (
            "tag.a.b like '%x' AND run_id IN ('r1','r2') AND name NOT IN ('n')",
            [
                Clause(kind="tag", key="a.b", op="LIKE", value="%x"),
                Clause(kind="attribute", key="run_id", op="IN", value=("r1", "r2")),
                Clause(kind="attribute", key="name", op="NOT IN", value=("n",)),
            ],
        ),
        (
            "attribute.source_path ILIKE 's3://%'",
            [Clause(kind="attribute", key="source_path", op="ILIKE", value="s3://%")],
        ),
        ("version_number = '7'", [Clause(kind="attribute", key="version_number", op="=", value=7)]),
    ],
)
def test_a_filter_is_a_list_of_clauses(text: str, clauses: list[Clause]) -> None:
    assert parse_filter(text, VERSIONS) == clauses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 'a' OR name = 'b'", "Invalid clause(s) in filter string: OR"),
        ("name", "Invalid comparison clause"),
        ("color = 'red'", "Invalid attribute key 'color'"),
        ("metrics.auc = 1", "Invalid entity type 'metrics'"),
        ("name = a", "Expected a quoted string value"),
        ("name = 'a", "Invalid clause(s)"),
        ("name > 'a'", "Invalid comparator for attribute: >"),
        ("version_number LIKE '1'", "Invalid comparator for attribute version_number"),
        ("version_number = 1.5", "Invalid value for numeric attribute"),
        ("version_number IN ('1')", "attributes support comparison with a list"),
        ("tags.a IN ('1')", "Invalid comparator for tag"),
        ("name IN ()", "ill-formed list"),
        ("name IN ('a',)", "ill-formed list"),
        ("x" * 20_001, "at most"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text, VERSIONS)
    assert words in str(caught.value)


def test_prompts_are_asked_for_by_their_tag() -> None:
    tag = "tags.`mlflow.prompt.is_prompt`"
    assert wants_prompts(parse_filter(f"{tag} = 'true'", MODELS))
    assert wants_prompts(parse_filter(f"{tag} != 'False'", MODELS))
    assert not wants_prompts(parse_filter(f"{tag} != 'true'", MODELS))
    assert not wants_prompts([])


def test_orders_are_read() -> None:
    assert parse_order(["name DESC", "timestamp"], MODELS) == [
        Order(key="name", ascending=False),
        Order(key="last_updated_timestamp", ascending=True),
    ]


@pytest.mark.parametrize("clause", ["", "color", "name up", "name asc asc"])
def test_other_orders_are_refused(clause: str) -> None:
    with pytest.raises(InvalidInput):
        parse_order([clause], MODELS)


def test_a_field_orders_once() -> None:
    with pytest.raises(InvalidInput, match="duplicate"):
        parse_order(["name ASC", "name DESC"], MODELS)


def test_page_tokens_come_back() -> None:
    assert page_offset(page_token(17)) == 17
    assert page_offset("") == 0


@pytest.mark.parametrize("token", ["%%%", "YWJj", "W10=", "e30=", "eyJvZmZzZXQiOiAtMX0="])
def test_other_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid page token"):
        page_offset(token)
