"""What runs are chosen and sorted by: semi-joins on summaries, params and tags, never on points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.tracking.domain.entities import LifecycleStage
from services.tracking.domain.search import AllOf, Clause, Condition, Field, Statistic
from services.tracking.store.sql import Arguments, conditioned, is_text, measured

HEAD: Final = 64
"""How many characters of a value are indexed: `head` in the tables."""
JOINED: Final = 4
"""How many comparisons may be planned as joins: the time of planning grows steeply with them."""
TABLES: Final = {"metric": "metric_summary", "parameter": "param", "tag": "tag"}
_ATTRIBUTES: Final = {"run_name": "run.name", "duration": "run.end_time - run.start_time"}
_DOUBT: Final = {"=": 0, "IN": 1, "<": 2, "<=": 2, ">": 2, ">=": 2}
NULLABLE: Final = frozenset({"end_time", "duration"})
"""Attributes that a run may lack."""
_STATISTICS: Final[dict[Statistic, str]] = {
    "last": "last_value",
    "first": "first_value",
    "min": "minimum",
    "max": "maximum",
    "mean": "total / nullif({0}.points - {0}.nans - {0}.infinities, 0)",
    "sum": "total",
    "count": "points::double precision",
    "last_step": "last_step::double precision",
    "first_step": "first_step::double precision",
    "min_step": "minimum_step::double precision",
    "max_step": "maximum_step::double precision",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The runs among which is searched, and the condition on them."""

    project: str
    experiments: Sequence[int]
    stages: Sequence[LifecycleStage]
    condition: Condition


class RunTerms:
    """The terms of one statement on `run`: conditions and sort columns with their arguments."""

    def __init__(self, scope: Scope) -> None:
        self.arguments = Arguments()
        self._scope = scope
        self._joined = frozenset(_most_telling(scope.condition))
        # One experiment is compared by `=`: its part of an index then has the order of the rest.
        if len(scope.experiments) == 1:
            self._experiments = f"= {self.arguments.bind(scope.experiments[0], 'bigint')}"
        else:
            bound = self.arguments.bind(list(scope.experiments), "bigint[]")
            self._experiments = f"= any({bound})"

    def chosen(self) -> str:
        """What must hold of `run`."""
        scope = self._scope
        project = self.arguments.bind(scope.project, "text")
        terms = [f"run.experiment_id {self._experiments}"]
        if len(scope.experiments) == 1:
            # Asked once, so that the run's own row need not be read for it.
            terms.append(
                f"exists (select from experiment where experiment_id {self._experiments}"
                f" and project = {project})"
            )
        else:
            terms.append(f"run.project = {project}")
        if len(scope.stages) == 1:
            stage = self.arguments.bind(scope.stages[0], "text")
            terms.append(f"run.lifecycle_stage = {stage}")
        terms.append(f"({conditioned(scope.condition, self._clause)})")
        return " and ".join(terms)

    def owned(self, alias: str, field: Field) -> str:
        """Rows of a key's table, within the experiments searched."""
        key = self.arguments.bind(field.key, "text")
        return f"{alias}.experiment_id {self._experiments} and {alias}.key = {key}"

    def _clause(self, clause: Clause) -> str:
        term = self._term(clause)
        # Only a bare EXISTS becomes a join; any other is asked row by row.
        return term if clause in self._joined else f"({term}) is true"

    def _term(self, clause: Clause) -> str:
        field = clause.field
        if field.entity == "attribute":
            return self._attribute(clause)
        if field.entity == "dataset":
            column = "run_dataset.context" if field.key == "context" else f"dataset.{field.key}"
            compared = self.arguments.compare(column, clause.operator, clause.value)
            return (
                "exists (select from run_dataset join dataset using (dataset_id)"
                f" where run_dataset.run_id = run.run_id and {compared})"
            )
        has = (
            f"exists (select from {TABLES[field.entity]} as held where held.run_id = run.run_id"
            f" and {self.owned('held', field)}"
        )
        if clause.operator == "IS NULL":
            return f"not {has})"
        if clause.operator == "IS NOT NULL":
            return f"{has})"
        return f"{has} and {self._held(clause)})"

    def _attribute(self, clause: Clause) -> str:
        column = attribute_column(clause.field)
        compared = self.arguments.compare(f"({column})", clause.operator, clause.value)
        if clause.field.key in NULLABLE:
            return f"run.end_time is not null and {compared}"
        return compared

    def _held(self, clause: Clause) -> str:
        """The row `held` of a metric, param or tag compared."""
        value, operator = clause.value, clause.operator
        if clause.field.entity == "metric":
            return measured(self.arguments, metric_column("held", clause.field), clause)
        if not is_text(value):
            return self.arguments.compare("held.number", operator, value)
        if not isinstance(value, str) or operator not in ("=", "!="):
            return self.arguments.compare("held.value", operator, value)
        if len(value) < HEAD:
            return self.arguments.compare("held.head", operator, value)
        compared = self.arguments.compare("held.value", operator, value)
        if operator == "!=":
            return compared
        return f"{self.arguments.compare('held.head', '=', value[:HEAD])} and {compared}"


def _most_telling(condition: Condition) -> list[Clause]:
    """Of the comparisons that must all hold, those that few runs are likely to meet."""
    parts = condition.of if isinstance(condition, AllOf) else (condition,)
    clauses = [part for part in parts if isinstance(part, Clause)]
    keyed = [clause for clause in clauses if clause.field.entity != "attribute"]
    joined = sorted(keyed, key=lambda clause: _DOUBT.get(clause.operator, len(_DOUBT)))[:JOINED]
    return joined + [clause for clause in clauses if clause.field.entity == "attribute"]


def attribute_column(field: Field) -> str:
    """The column of an attribute of `run`."""
    return _ATTRIBUTES.get(field.key, f"run.{field.key}")


def metric_column(alias: str, field: Field) -> str:
    """The column of a statistic; null where a metric has none, such as the mean of only NaN."""
    column = _STATISTICS[field.statistic].format(alias)
    return f"({alias}.{column})"
