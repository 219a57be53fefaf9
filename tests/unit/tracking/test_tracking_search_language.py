from __future__ import annotations

import base64
import json

import pytest

from headrace.errors import InvalidInput
from services.tracking.domain.search import (
    EVERYTHING,
    EXPERIMENTS,
    MODELS,
    RUNS,
    After,
    AllOf,
    AnyOf,
    Clause,
    Condition,
    Field,
    Grammar,
    Not,
    clauses_of,
    next_token,
    offset_of,
    parse_filter,
    parse_model_order,
    parse_order,
    place_order,
    position_of,
    token_of,
    touches_metrics,
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
        ("params.a = 'it''s'", "parameter", "a", "=", "it''s"),
        ("metrics.`min(loss)` > 1", "metric", "min(loss)", ">", 1.0),
        ("metrics.acc IN (0.5, 1)", "metric", "acc", "IN", (0.5, 1.0)),
        ("start_time NOT IN (5, 6,)", "attribute", "start_time", "NOT IN", (5, 6)),
        ("attributes.duration > 60000", "attribute", "duration", ">", 60000),
        ("params.lr >= 1e-3", "parameter", "lr", ">=", 0.001),
        ("params.epochs IN (8, 16)", "parameter", "epochs", "IN", (8.0, 16.0)),
    ],
)
def test_a_clause_is_read(text: str, entity: str, key: str, operator: str, value: object) -> None:
    (clause,) = clauses_of(parse_filter(text, RUNS))
    assert (clause.field.entity, clause.field.key) == (entity, key)
    assert (clause.operator, clause.value) == (operator, value)


def test_clauses_are_joined_by_and_in_any_case() -> None:
    condition = parse_filter("metrics.a > 1 and params.b = 'x' AND tags.c != 'and'", RUNS)
    assert isinstance(condition, AllOf)
    clauses = list(clauses_of(condition))
    assert [clause.field.key for clause in clauses] == ["a", "b", "c"]
    assert clauses[2] == Clause(field=field("tag", "c"), operator="!=", value="and")


def presence(key: str) -> Clause:
    return Clause(field=field("tag", key), operator="IS NOT NULL")


A, B, C = presence("a"), presence("b"), presence("c")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("{a} OR {b} AND {c}", AnyOf(of=(A, AllOf(of=(B, C))))),
        ("({a} or {b}) and {c}", AllOf(of=(AnyOf(of=(A, B)), C))),
        ("NOT {a} AND {b}", AllOf(of=(Not(of=A), B))),
        ("NOT ({a} AND {b})", Not(of=AllOf(of=(A, B)))),
        ("not not {a}", Not(of=Not(of=A))),
        ("(({a}))", A),
        ("NOT({a})OR({b})", AnyOf(of=(Not(of=A), B))),
    ],
)
def test_not_binds_before_and_before_or(text: str, condition: Condition) -> None:
    written = {key: f"tags.{key} IS NOT NULL" for key in "abc"}
    assert parse_filter(text.format(**written), RUNS) == condition


@pytest.mark.parametrize(
    ("text", "key", "statistic"),
    [
        ("metrics.min(loss)", "loss", "min"),
        ("metric.max(`val loss`)", "val loss", "max"),
        ('metrics.mean( "a.b" )', "a.b", "mean"),
        ("metrics.last_step(train/loss-1:x)", "train/loss-1:x", "last_step"),
        ("metrics.loss", "loss", "last"),
        ("metrics.`min(loss)`", "min(loss)", "last"),
    ],
)
def test_a_statistic_of_a_metric_is_named_like_a_call(text: str, key: str, statistic: str) -> None:
    (clause,) = clauses_of(parse_filter(f"{text} > 1", RUNS))
    (order,) = parse_order([f"{text} DESC"], RUNS)
    for found in (clause.field, order.field):
        assert (found.entity, found.key, found.statistic) == ("metric", key, statistic)
    assert not order.ascending


@pytest.mark.parametrize("text", [None, "", "   "])
def test_no_filter_has_no_clauses(text: str | None) -> None:
    assert parse_filter(text, RUNS) == EVERYTHING


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
        ("run_id IN (1)", "but got different type in list: (1)"),
        ("run_id IN ('a' 'b')", "but got ill-formed list"),
        ("metrics.a > 1 OR", "Invalid clause(s) in filter string: 'OR'"),
        ("metrics.a > 1 metrics.b > 1", "Invalid clause(s) in filter string: 'metrics.b"),
        ("NOT", "Invalid clause(s) in filter string: 'NOT'"),
        ("metrics.a > 1 AND", "Invalid clause(s) in filter string: 'AND'"),
        ("metrics.a >", "Invalid clause(s) in filter string"),
        ("metrics.a", "Invalid clause(s) in filter string"),
        ("(metrics.a > 1", "Invalid clause(s) in filter string"),
        ("metrics.a > 1)", "Invalid clause(s) in filter string"),
        ("()", "Invalid clause(s) in filter string"),
        ("metrics.a IN ('x')", "Expected numeric value type for metric. Found ('x')"),
        ("start_time IN ('x')", "numeric attribute: start_time. Found ('x')"),
        ("params.a IN ('x', 'y')", "for parameter (e.g. 'my-value'). Got value ('x', 'y')"),
        ("metrics.median(a) > 1", "Invalid statistic 'median' of metric 'a'. Valid statistics"),
        ("params.min(a) > 1", "Invalid statistic 'min' of parameter 'a'."),
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
        (MODELS, "tags.x IN ('a', 'b')", "x"),
        (MODELS, "last_updated_time > 5", "last_updated_timestamp_ms"),
    ],
)
def test_each_search_has_its_own_words(grammar: Grammar, text: str, key: str) -> None:
    (clause,) = clauses_of(parse_filter(text, grammar))
    assert clause.field.key == key


def test_too_much_filter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 100 clauses"):
        parse_filter(" AND ".join(["metrics.a > 1"] * 101), RUNS)
    with pytest.raises(InvalidInput, match="maximum length"):
        parse_filter("metrics.a > 1" + " " * 20_000, RUNS)
    with pytest.raises(InvalidInput, match="nested more than 32 deep"):
        parse_filter("(" * 40 + "metrics.a > 1" + ")" * 40, RUNS)


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


@pytest.mark.parametrize(
    ("filter_", "order_by", "touches"),
    [
        ("metrics.a > 1", [], True),
        ("NOT (params.a = '1' OR metrics.max(a) > 1)", [], True),
        ("", ["metrics.a"], True),
        ("params.a > 1 OR tags.b = 'c'", ["start_time", "params.x"], False),
    ],
)
def test_a_search_tells_whether_it_looks_at_metrics(
    filter_: str, order_by: list[str], touches: bool
) -> None:
    assert touches_metrics(parse_filter(filter_, RUNS), parse_order(order_by, RUNS)) is touches


def test_page_tokens_are_mlflows() -> None:
    assert offset_of(None) == 0
    assert offset_of("eyJvZmZzZXQiOiAzfQ==") == 3
    assert offset_of(next_token(70_000)) == 70_000


@pytest.mark.parametrize(
    ("order_by", "value"),
    [([], None), (["run_name DESC"], "a \u2603"), (["end_time"], 5), (["end_time"], None)],
)
def test_a_token_holds_a_place_in_an_order(order_by: list[str], value: str | int | None) -> None:
    orders = parse_order(order_by, RUNS)
    name = place_order(orders)
    assert name is not None
    place = After(order=name, value=value, start_time=7, run_id="r")
    assert position_of(token_of(place), orders) == place
    with pytest.raises(InvalidInput, match="Invalid page token, parsed value="):
        position_of(token_of(place), parse_order(["status"], RUNS))


@pytest.mark.parametrize("order_by", [["metrics.a"], ["start_time", "run_name"]])
def test_pages_of_other_orders_are_counted(order_by: list[str]) -> None:
    orders = parse_order(order_by, RUNS)
    assert place_order(orders) is None
    assert position_of(token_of(50), orders) == 50


@pytest.mark.parametrize(
    "document",
    [
        {"after": ["run_name asc", 5, 7, "r"]},
        {"after": ["run_name asc", "x", 2**63, "r"]},
        {"after": ["run_name asc", "x", "7", "r"]},
        {"after": ["run_name asc", "x", 7]},
        {"after": 5},
        {"offset": -5},
        [],
    ],
)
def test_a_token_of_other_making_is_refused(document: object) -> None:
    token = base64.b64encode(json.dumps(document).encode()).decode()
    with pytest.raises(InvalidInput, match="Invalid page token, parsed value="):
        position_of(token, parse_order(["run_name"], RUNS))
