from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.tracking.domain.search import (
    EXPERIMENTS,
    MODELS,
    RUNS,
    Clause,
    Field,
    Grammar,
    next_token,
    offset_of,
    parse_filter,
    parse_model_order,
    parse_order,
)


def field(entity: str, key: str, *, numeric: bool = False) -> Field:
    return Field(entity=entity, key=key, numeric=numeric)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "entity", "key", "operator", "value"),
    [
        ("metrics.acc > 0.5", "metric", "acc", ">", 0.5),
        ("metric.acc>=-1e3", "metric", "acc", ">=", -1000.0),
        ("metrics.`val loss` <> 1", "metric", "val loss", "!=", 1.0),
        ("params.lr = '0.1'", "parameter", "lr", "=", "0.1"),
        ('parameter."a.b c" like "x%"', "parameter", "a.b c", "LIKE", "x%"),
        ("tags.mlflow.parentRunId = 'x y'", "tag", "mlflow.parentRunId", "=", "x y"),
        ("tag.a IS NOT NULL", "tag", "a", "IS NOT NULL", None),
        ("run_name ILIKE 'A'", "attribute", "run_name", "ILIKE", "A"),
        ("attr.Created < 5", "attribute", "start_time", "<", 5),
        ("`run name` = 'n'", "attribute", "run_name", "=", "n"),
        ("run_id in ('a', \"b\")", "attribute", "run_id", "IN", ("a", "b")),
        ("attributes.run_id NOT IN ('a',)", "attribute", "run_id", "NOT IN", ("a",)),
        ("dataset.context = 'train'", "dataset", "context", "=", "train"),
    ],
)
def test_a_clause_is_read(text: str, entity: str, key: str, operator: str, value: object) -> None:
    (clause,) = parse_filter(text, RUNS)
    assert (clause.field.entity, clause.field.key) == (entity, key)
    assert (clause.operator, clause.value) == (operator, value)


def test_clauses_are_joined_by_and_in_any_case() -> None:
    clauses = parse_filter("metrics.a > 1 and params.b = 'x' AND tags.c != 'and'", RUNS)
    assert [clause.field.key for clause in clauses] == ["a", "b", "c"]
    assert clauses[2] == Clause(field=field("tag", "c"), operator="!=", value="and")


@pytest.mark.parametrize("text", [None, "", "   "])
def test_no_filter_has_no_clauses(text: str | None) -> None:
    assert parse_filter(text, RUNS) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo.bar = 'x'", "Invalid entity type 'foo'. Valid values are"),
        ("nope = 'x'", "Invalid attribute key 'nope' specified. Valid keys are"),
        ("dataset.size = 'x'", "Invalid dataset key 'size' specified."),
        ("metrics.a = 'x'", "Expected numeric value type for metric. Found 'x'"),
        ("start_time = 'x'", "Expected numeric value type for numeric attribute: start_time."),
        ("params.a = 1", "Expected a quoted string value for parameter (e.g. 'my-value')."),
        ("params.a = b", "Parameter value is either not quoted"),
        ("status = 1", "Expected a quoted string value for attributes. Got value 1"),
        ("dataset.name = 1", "Expected a quoted string value for dataset attributes."),
        ("params.a > 'x'", "Invalid comparator '>' not one of"),
        ("metrics.a LIKE 'x'", "Invalid comparator 'LIKE' not one of"),
        ("metrics.a IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("status IN ('a')", "Only ['run_id'] attributes support comparison with a list"),
        ("run_id IN ()", "expected a non-empty list of string values, but got empty list"),
        ("run_id IN (1)", "expected a non-empty list of string values, but got 1"),
        ("run_id IN ('a' 'b')", "but got ill-formed list"),
        ("metrics.a > 1 OR metrics.b > 1", "Invalid clause(s) in filter string: 'OR"),
        ("metrics.a > 1 AND", "Invalid clause(s) in filter string: 'AND'"),
        ("metrics.a >", "Invalid clause(s) in filter string"),
        ("metrics.a", "Invalid clause(s) in filter string"),
        ("(metrics.a > 1)", "Invalid clause(s) in filter string"),
        ("'x' = params.a", "Invalid clause(s) in filter string"),
        ("params.a = 'x", "Expected a quoted string value for parameter"),
        ("params.a = 'x';", "Invalid clause(s) in filter string"),
    ],
)
def test_a_wrong_filter_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text, RUNS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("grammar", "text", "key"),
    [
        (EXPERIMENTS, "name LIKE 'a%'", "name"),
        (EXPERIMENTS, "experiment_id IN ('1', '2')", "experiment_id"),
        (EXPERIMENTS, "creation_time > 5", "creation_time"),
        (MODELS, "creation_timestamp > 5", "creation_timestamp_ms"),
        (MODELS, "attributes.name IN ('a')", "name"),
        (MODELS, "params.x LIKE 'a'", "x"),
    ],
)
def test_each_search_has_its_own_words(grammar: Grammar, text: str, key: str) -> None:
    (clause,) = parse_filter(text, grammar)
    assert clause.field.key == key


def test_too_much_filter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 100 clauses"):
        parse_filter(" AND ".join(["metrics.a > 1"] * 101), RUNS)
    with pytest.raises(InvalidInput, match="maximum length"):
        parse_filter("metrics.a > 1" + " " * 20_000, RUNS)


def test_orders_are_read() -> None:
    orders = parse_order(["metrics.acc DESC", "params.`a b`", "start_time asc"], RUNS)
    assert [(order.field.key, order.ascending) for order in orders] == [
        ("acc", False),
        ("a b", True),
        ("start_time", True),
    ]
    (order,) = parse_model_order([{"field_name": "metrics.auc", "ascending": False}])
    assert (order.field.entity, order.field.key, order.ascending) == ("metric", "auc", False)


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        (["metrics.a SIDEWAYS"], "Invalid ordering key in order_by clause"),
        (["metrics.a asc desc"], "Could not be parsed"),
        ([""], "Could not be parsed"),
        (["nope"], "Invalid attribute key 'nope' specified"),
        (["metrics.a", "metrics.a DESC"], "`order_by` contains duplicate fields"),
        (["dataset.name"], "Invalid order_by entity type"),
    ],
)
def test_a_wrong_order_is_refused_with_the_reason(clauses: list[str], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_order(clauses, RUNS)
    assert message in str(caught.value)


def test_page_tokens_are_mlflows() -> None:
    assert offset_of(None) == 0
    assert offset_of("eyJvZmZzZXQiOiAzfQ==") == 3
    assert offset_of(next_token(70_000)) == 70_000
