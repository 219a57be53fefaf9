"""Rules of the prediction log: kept by version, told to the workers with every assignment."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from headrace.errors import InvalidInput
from headrace.limits import MAX_PREDICTION_ID
from headrace.runtime.db import DATABASE_TROUBLE
from headrace.runtime.telemetry import Log
from services.serving import store
from services.serving.control.fleet import Fleet
from services.serving.link.messages import LogRules

_MOST_TENSORS: Final = 1000
_MOST_HASHED: Final = 16
"""A hash may be longer than what it hides: with more, records could outgrow what Kafka takes."""
_RETRY_SECONDS: Final = 0.5


class LogRuleBook:
    """The newest rules of every model of a project."""

    def __init__(
        self, *, project: str, pool: asyncpg.Pool, fleet: Fleet, can_hash: bool, log: Log
    ) -> None:
        self._project = project
        self._pool = pool
        self._fleet = fleet
        self._can_hash = can_hash
        self._log = log
        self._rules: dict[str, LogRules] = {}
        self._setting = asyncio.Lock()

    async def load(self) -> None:
        """Know the rules before any worker is told anything; waits for PostgreSQL."""
        while True:
            try:
                # What is changed meanwhile must not be overwritten by what was read before.
                async with self._setting:
                    await self._load()
            except DATABASE_TROUBLE as why:
                self._log.warning("log_rules_not_read", reason=repr(why))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _load(self) -> None:
        async with self._pool.acquire() as connection:
            kept = await store.log_rules(connection, project=self._project)
        self._rules = {
            model: LogRules.model_validate(rules | {"version": version})
            for model, version, rules in kept
        }
        self._fleet.set_log_rules(self._rules)

    def of(self, model: str) -> LogRules:
        """The rules of a model; version 0 where nobody made any."""
        return self._rules.get(model, LogRules())

    async def change(self, model: str, rules: LogRules, *, by: str) -> LogRules:
        """Make rules the newest of a model, on every worker. Raises InvalidInput."""
        self._check(model, rules)
        kept = rules.model_dump(mode="json", exclude={"version"})
        async with self._setting:
            async with self._pool.acquire() as connection, connection.transaction():
                version = await store.add_log_rules(
                    connection, project=self._project, model=model, rules=kept, by=by
                )
            self._rules[model] = rules.model_copy(update={"version": version})
            self._fleet.set_log_rules(self._rules)
        self._log.info("log_rules_changed", model=model, version=version, by=by)
        return self._rules[model]

    def _check(self, model: str, rules: LogRules) -> None:
        if not 0 < len(model) <= MAX_PREDICTION_ID or "\0" in model:
            raise InvalidInput("model: expected 1 to 250 characters, no NUL", field="model")
        names = [model, *rules.redact, *rules.outlier]
        if len(names) > _MOST_TENSORS or any(
            not 0 < len(name) <= MAX_PREDICTION_ID or "\0" in name for name in names
        ):
            raise InvalidInput(
                f"redact, outlier: expected at most {_MOST_TENSORS} names of 1 to"
                f" {MAX_PREDICTION_ID} characters",
                field="redact",
            )
        hashed = [name for name, how in rules.redact.items() if how == "hash"]
        if len(hashed) > _MOST_HASHED:
            raise InvalidInput(
                f"redact: at most {_MOST_HASHED} tensors can be hashed, got {len(hashed)}",
                field="redact",
            )
        if hashed and not self._can_hash:
            raise InvalidInput(
                "redact: to hash a tensor, give the processes HEADRACE_SERVING_LOG_HASH_KEY",
                field="redact",
            )
