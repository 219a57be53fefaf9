"""Setting a model's traffic: one new table, in the transaction of whoever wants it."""

from __future__ import annotations

from datetime import datetime

from headrace.errors import Conflict, NotFound, Refused
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from services.serving.domain.traffic import (
    Setting,
    TableState,
    TrafficTable,
    assign,
    check,
)
from services.serving.store import traffic


async def set_traffic(
    tx: Tx, *, project: str, model: str, setting: Setting, now: datetime
) -> TrafficTable:
    """The new table, waiting to be carried out.

    Raises NotFound when nothing answers for the model, Conflict when another table is there than
    the setting expects, InvalidInput for a plan that cannot be, Refused for versions whose files
    are not known.
    """
    champion = await lock_traffic(tx, project=project, model=model)
    before = await traffic.latest(tx.connection, project=project, model=model)
    number = before.version if before else 0
    if setting.expected is not None and setting.expected != number:
        raise Conflict(f"the table of {model!r} is version {number}, not {setting.expected}")
    check(setting.plan, champion=champion)
    await _check_known(tx, project, model, setting.plan.versions - {champion})
    salt = setting.plan.salt or (before.salt if before else new_id())
    same = before is not None and before.salt == salt
    table = TrafficTable(
        project=project,
        model=model,
        version=number + 1,
        state=TableState.OPEN,
        plan=setting.plan,
        salt=salt,
        intervals=assign(setting.plan.weights, before.intervals if before and same else ()),
        champion=champion,
        cause=setting.cause,
        author=setting.author,
        reason=setting.reason,
        correlation_id=tx.caller.correlation_id if tx.caller else new_id(),
        owner=setting.owner,
        created_at=now,
    )
    await traffic.insert(tx.connection, table)
    return table


async def lock_traffic(tx: Tx, *, project: str, model: str) -> int:
    """Let nobody else set a model's traffic until the commit; returns its champion.

    Raises NotFound when nothing answers for the model.
    """
    champion = await traffic.lock(tx.connection, project=project, model=model)
    if champion is None:
        raise NotFound(f"model {model!r} has no champion: there is no traffic to split")
    return champion


async def _check_known(tx: Tx, project: str, model: str, versions: frozenset[int]) -> None:
    known = await traffic.known_orders(
        tx.connection, project=project, model=model, versions=versions
    )
    unknown = sorted(versions - known.keys())
    if unknown:
        raise Refused(
            f"version {unknown[0]} of {model!r}: the registry told nothing of its files; "
            "register it with files that can be verified"
        )
