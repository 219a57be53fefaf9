"""Changes to one run, each with the events that tell of it in the same transaction."""

from __future__ import annotations

from headrace.runtime.bus import Tx
from headrace.runtime.clock import Clock
from services.tracking.domain.batches import Batch
from services.tracking.domain.entities import RUN_NAME_TAG, STOP_TAG, RunInfo, RunStatus
from services.tracking.domain.entries import Chain, Entry, NewRun, entry_of
from services.tracking.domain.facts import has_finished, run_finished
from services.tracking.domain.points import packed
from services.tracking.store import metrics, runs
from services.tracking.store.chains import caller_of, chain_of
from services.tracking.store.folding import fold_all
from services.tracking.store.log import append
from services.tracking.store.starting import start_runs


async def start_run(tx: Tx, new: NewRun, *, project: str) -> RunInfo:
    """Make a run in status RUNNING. Raises NotFound, InvalidInput, Conflict."""
    (outcome,) = await start_runs(tx.connection, [new], project=project)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def change_run(
    tx: Tx,
    before: RunInfo,
    *,
    project: str,
    clock: Clock,
    chain: Chain | None = None,
    name: str | None = None,
    status: RunStatus | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> RunInfo:
    """Change what is given of a locked run; a repetition says nothing."""
    if name:
        renamed = entry_of(before.run_id, None, tags={RUN_NAME_TAG: name}, chain=chain)
        await write_entry(tx, renamed, project=project)
    after = await runs.update_run(
        tx.connection, before, status=status, start_time=start_time, end_time=end_time
    )
    if has_finished(before, after):
        await fold_all(tx, [after.run_id], project=project)
        summaries = await metrics.summaries_of_run(tx.connection, run_id=after.run_id)
        event = run_finished(project, after, summaries, now=clock.now())
        tx.emit(event, caller=caller_of(chain))
    return after


async def write_batch(
    tx: Tx, *, project: str, run: RunInfo, batch: Batch, single_param: bool = False
) -> None:
    """Apply a batch to a locked run; what it changes is told when it is folded.

    A batch that was applied before changes nothing and says nothing. Raises InvalidInput if a
    param would change (`single_param` chooses between MLflow's two texts).
    """
    columns = packed(batch.points) if len(batch.points) else None
    entry = entry_of(
        run.run_id,
        columns,
        params=batch.params,
        tags=batch.tags,
        chain=chain_of(tx.caller),
        single_param=single_param,
    )
    await write_entry(tx, entry, project=project)
    if batch.model_metrics:
        await metrics.add_model_metrics(tx.connection, batch.model_metrics)


async def write_entry(tx: Tx, entry: Entry, *, project: str) -> None:
    """Add an entry to the log of runs. Raises NotFound, InvalidInput, WrongStage."""
    appended = await append(tx.connection, [entry], project=project)
    for outcome in appended.outcomes:
        if outcome is not None:
            raise outcome


async def request_stop(tx: Tx, run: RunInfo, *, project: str, now_ms: int) -> int:
    """Have a locked run take no more logging; returns since when, in milliseconds."""
    requested: int | None = await runs.stop_requested_at(tx.connection, run_id=run.run_id)
    if requested is not None:
        return requested
    entry = entry_of(run.run_id, None, tags={STOP_TAG: str(now_ms)}, chain=chain_of(tx.caller))
    await write_entry(tx, entry, project=project)
    await runs.stop_taking(tx.connection, run_id=run.run_id, now_ms=now_ms)
    return now_ms
