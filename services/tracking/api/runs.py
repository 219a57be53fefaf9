"""`runs/*`: create, get, update, delete, restore, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from headrace.errors import InvalidInput
from headrace.runtime.ids import new_id
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, info_document, run_document
from services.tracking.api.experiments import DEFAULT_RESULTS, MAX_RESULTS, VIEW_TYPES
from services.tracking.api.fields import Fields
from services.tracking.domain.entities import (
    RUN_NAME_TAG,
    RUN_STATUSES,
    STAGES,
    LifecycleStage,
    Run,
    RunStatus,
)
from services.tracking.domain.entries import NewRun
from services.tracking.domain.names import MAX_TAG_VALUE, experiment_number, tag_of
from services.tracking.domain.naming import name_for
from services.tracking.domain.search import (
    RUNS,
    parse_filter,
    parse_order,
    position_of,
    token_of,
    touches_metrics,
)
from services.tracking.domain.values import integer_of
from services.tracking.store import folding, runs, search, writes
from services.tracking.store.contents import load_runs
from services.tracking.store.run_conditions import Scope

LOADED_AT_ONCE: Final = 500
"""Of the runs of a big page, so that other calls get their turn between."""


async def create(call: Call) -> Document:
    fields = call.fields
    run_id = new_id().replace("-", "")
    tags = dict(
        tag_of(key, value, path=f"tags[{index}]")
        for index, (key, value) in enumerate(fields.pairs("tags"))
    )
    new = NewRun(
        run_id=run_id,
        experiment=experiment_number(fields.text("experiment_id") or ""),
        name=_name(_run_name(fields), tags.get(RUN_NAME_TAG)) or name_for(run_id),
        start_time=integer_of(fields.integer("start_time") or 0, path="start_time", least=0),
        user_id=fields.text("user_id") or "",
        tags=tags,
        chain=call.chain,
    )
    info = await call.writer.start_run(new)
    run = Run(info=info, tags=new.all_tags)
    return {"run": run_document(run)}


async def get(call: Call) -> Document:
    run_id = call.fields.run_id()
    async with call.resources.pool.acquire() as connection:
        run = await runs.get_run(connection, project=call.project, run_id=run_id)
    return {"run": run_document(run)}


async def update(call: Call) -> Document:
    fields = call.fields
    run_id = fields.run_id()
    status = cast("RunStatus | None", fields.choice("status", RUN_STATUSES))
    end_time = fields.integer("end_time")
    async with call.resources.bus.transaction(call.caller) as tx:
        before = await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        after = await writes.change_run(
            tx,
            before,
            project=call.project,
            clock=call.resources.clock,
            chain=call.chain,
            name=_run_name(fields),
            status=status,
            end_time=None if end_time is None else integer_of(end_time, path="end_time", least=0),
        )
    return {"run_info": info_document(after)}


async def delete(call: Call) -> Document:
    return await _move(call, "deleted")


async def restore(call: Call) -> Document:
    return await _move(call, "active")


async def find(call: Call) -> Document:
    fields = call.fields
    limit = fields.bounded("max_results", default=DEFAULT_RESULTS, most=MAX_RESULTS)
    orders = parse_order(fields.texts("order_by"), RUNS)
    position = position_of(fields.text("page_token"), orders)
    scope = Scope(
        project=call.project,
        experiments=[experiment_number(one) for one in fields.texts("experiment_ids")],
        stages=STAGES[fields.choice("run_view_type", VIEW_TYPES) or "ACTIVE_ONLY"],
        condition=parse_filter(fields.text("filter"), RUNS),
    )
    if touches_metrics(scope.condition, orders):
        await fold_first(call, scope.experiments)
    async with call.resources.pool.acquire() as connection:
        page = await search.find_runs(
            connection, scope, orders=orders, limit=limit, position=position
        )
        shown = []
        for start in range(0, len(page.run_ids), LOADED_AT_ONCE):
            some = page.run_ids[start : start + LOADED_AT_ONCE]
            found = await load_runs(connection, project=call.project, run_ids=some)
            shown += [run_document(run) for run in found]
    document: Document = {"runs": shown}
    if page.following is not None:
        document["next_page_token"] = token_of(page.following)
    return document


async def fold_first(call: Call, experiments: Sequence[int]) -> None:
    """Bring what was just logged into the summaries that a search looks at."""
    async with call.resources.pool.acquire() as connection:
        waiting = await folding.unfolded(connection, project=call.project, experiments=experiments)
    if waiting:
        await call.folder.catch_up(waiting)


async def _move(call: Call, stage: LifecycleStage) -> Document:
    run_id = call.fields.run_id()
    async with call.resources.bus.transaction(call.caller) as tx:
        await runs.move_run(tx.connection, project=call.project, run_id=run_id, stage=stage)
    return {}


def _run_name(fields: Fields) -> str | None:
    """Cut as the tag that it is kept in."""
    name = fields.text("run_name")
    return name[:MAX_TAG_VALUE] if name else None


def _name(given: str | None, tag: str | None) -> str | None:
    if given and tag and given != tag:
        raise InvalidInput(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
            f"different values (run_name='{given}', mlflow.runName='{tag}').",
            field="run_name",
        )
    return given or tag


ROUTES: Final[RouteTable] = (
    ("POST", "/runs/create", create),
    ("GET", "/runs/get", get),
    ("POST", "/runs/update", update),
    ("POST", "/runs/delete", delete),
    ("POST", "/runs/restore", restore),
    ("POST", "/runs/search", find),
)
