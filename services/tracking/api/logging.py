"""What is logged to a run: metrics, params, tags, inputs, outputs."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.fields import Fields, wrong_type
from services.tracking.domain.batches import Batch, check_counts, unique_params
from services.tracking.domain.entities import DatasetInput, Metric, ModelMetric, ModelOutput
from services.tracking.domain.entries import entry_of
from services.tracking.domain.model_notes import LOGGED_MODELS_TAG, extended_history, model_note
from services.tracking.domain.names import (
    MAX_DATASET_DIGEST,
    MAX_DATASET_NAME,
    MAX_ID,
    MAX_INPUT_TAG_KEY,
    MAX_INPUT_TAG_VALUE,
    check_length,
    check_run_id,
    param_of,
    tag_of,
)
from services.tracking.domain.points import Points, packed, read_point
from services.tracking.domain.values import missing
from services.tracking.store import inputs, runs, writes


async def log_metric(call: Call) -> Document:
    fields = call.fields
    run_id = fields.run_id()
    entry: dict[str, object] = {
        "key": fields.required("key"),
        "value": fields.real("value"),
        "timestamp": fields.integer("timestamp"),
        "step": fields.integer("step") or 0,
        "model_id": fields.text("model_id"),
        "dataset_name": fields.text("dataset_name"),
        "dataset_digest": fields.text("dataset_digest"),
    }
    points, model_metrics = read_metrics([entry], run_id=run_id, single=True)
    await _write(call, run_id, Batch(points=points, model_metrics=model_metrics))
    return {}


async def log_batch(call: Call) -> Document:
    fields = call.fields
    run_id = check_run_id(fields.run_id())
    metrics, params, tags = fields.objects("metrics"), fields.pairs("params"), fields.pairs("tags")
    check_counts(metrics=len(metrics), params=len(params), tags=len(tags))
    points, model_metrics = read_metrics(metrics, run_id=run_id)
    batch = Batch(
        points=points,
        model_metrics=model_metrics,
        params=unique_params(
            [param_of(key, value, path=f"params[{i}]") for i, (key, value) in enumerate(params)]
        ),
        tags=dict(tag_of(key, value, path=f"tags[{i}]") for i, (key, value) in enumerate(tags)),
    )
    await _write(call, run_id, batch)
    return {}


async def log_param(call: Call) -> Document:
    run_id = call.fields.run_id()
    key, value = param_of(call.fields.required("key"), call.fields.text("value") or "")
    await _write(call, run_id, Batch(params={key: value}), single_param=True)
    return {}


async def set_tag(call: Call) -> Document:
    run_id = call.fields.run_id()
    key, value = tag_of(call.fields.required("key"), call.fields.text("value") or "")
    await _write(call, run_id, Batch(tags={key: value}))
    return {}


async def delete_tag(call: Call) -> Document:
    run_id, key = call.fields.run_id(), call.fields.required("key")
    async with call.resources.bus.transaction(call.caller) as tx:
        await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        await runs.delete_tag(tx.connection, run_id=run_id, key=key)
    return {}


async def log_inputs(call: Call) -> Document:
    run_id = check_run_id(call.fields.run_id())
    datasets = [read_dataset(entry) for entry in call.fields.each("datasets")]
    models = [_model_id(entry) for entry in call.fields.each("models")]
    async with call.resources.bus.transaction(call.caller) as tx:
        run = await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        await inputs.add_datasets(
            tx.connection, experiment=int(run.experiment_id), run_id=run_id, datasets=datasets
        )
        await inputs.add_model_inputs(tx.connection, run_id=run_id, model_ids=models)
    return {}


async def log_outputs(call: Call) -> Document:
    run_id = check_run_id(call.fields.run_id())
    entries = call.fields.each("models")
    if not entries:
        raise missing("models")
    outputs = [
        ModelOutput(model_id=_model_id(entry), step=entry.integer("step") or 0) for entry in entries
    ]
    async with call.resources.bus.transaction(call.caller) as tx:
        await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        await inputs.add_model_outputs(tx.connection, run_id=run_id, outputs=outputs)
    return {}


async def log_model(call: Call) -> Document:
    """The note that clients before 3.0 make of a model: appended to a tag of the run."""
    run_id = check_run_id(call.fields.run_id())
    note = model_note(call.fields.required("model_json"))
    async with call.resources.bus.transaction(call.caller) as tx:
        run = await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        before = await runs.get_tag(tx.connection, run_id=run_id, key=LOGGED_MODELS_TAG)
        tags = {LOGGED_MODELS_TAG: extended_history(before, note)}
        await writes.write_batch(tx, project=call.project, run=run, batch=Batch(tags=tags))
    return {}


def read_metrics(
    entries: list[dict[str, object]], *, run_id: str, single: bool = False
) -> tuple[Points, list[ModelMetric]]:
    """Checked points, and those of them that were logged for a model. Raises InvalidInput."""
    points = Points()
    model_metrics: list[ModelMetric] = []
    checked: set[str] = set()
    for index, entry in enumerate(entries):
        read_point(points, checked, entry, path="" if single else f"metrics[{index}]")
        model_id = entry.get("model_id") or entry.get("modelId")
        if model_id:
            metric = Metric(
                key=points.keys[-1],
                value=points.values[-1],
                timestamp=points.timestamps[-1],
                step=points.steps[-1],
            )
            model_metrics.append(
                ModelMetric(
                    model_id=_word(model_id, "model_id", MAX_ID),
                    metric=metric,
                    run_id=run_id,
                    dataset_name=_word(
                        entry.get("dataset_name") or "", "dataset_name", MAX_DATASET_NAME
                    ),
                    dataset_digest=_word(
                        entry.get("dataset_digest") or "", "dataset_digest", MAX_DATASET_DIGEST
                    ),
                )
            )
    return points, model_metrics


async def _write(call: Call, run_id: str, batch: Batch, *, single_param: bool = False) -> None:
    """By group commit, but for points that belong to logged models too: they are few."""
    if not batch.model_metrics:
        entry = entry_of(
            run_id,
            packed(batch.points) if len(batch.points) else None,
            params=batch.params,
            tags=batch.tags,
            chain=call.chain,
            single_param=single_param,
        )
        await call.writer.write(entry)
        return
    async with call.resources.bus.transaction(call.caller) as tx:
        run = await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        await writes.write_batch(
            tx, project=call.project, run=run, batch=batch, single_param=single_param
        )


def read_dataset(entry: Fields) -> DatasetInput:
    """A checked dataset input, as `log-inputs` has it. Raises InvalidInput."""
    dataset = entry.inner("dataset")
    if dataset is None:
        raise InvalidInput("Dataset cannot be None", field="dataset")
    schema, profile = dataset.text("schema"), dataset.text("profile")
    tags = {}
    for key, value in entry.pairs("tags"):
        tags[check_length(key, limit=MAX_INPUT_TAG_KEY, what="key")] = check_length(
            value, limit=MAX_INPUT_TAG_VALUE, what="value"
        )
    return DatasetInput(
        name=check_length(dataset.required("name"), limit=MAX_DATASET_NAME, what="name"),
        digest=check_length(dataset.required("digest"), limit=MAX_DATASET_DIGEST, what="digest"),
        source_type=dataset.required("source_type"),
        source=check_length(dataset.required("source"), limit=65_535, what="source"),
        schema=check_length(schema, limit=1_048_575, what="schema") if schema else None,
        profile=check_length(profile, limit=16_777_215, what="profile") if profile else None,
        tags=tags,
    )


def _model_id(entry: Fields) -> str:
    return check_length(entry.required("model_id"), limit=MAX_ID, what="model_id")


def _word(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, value)
    return check_length(value, limit=limit, what=name)


ROUTES: Final[RouteTable] = (
    ("POST", "/runs/log-metric", log_metric),
    ("POST", "/runs/log-batch", log_batch),
    ("POST", "/runs/log-parameter", log_param),
    ("POST", "/runs/set-tag", set_tag),
    ("POST", "/runs/delete-tag", delete_tag),
    ("POST", "/runs/log-inputs", log_inputs),
    ("POST", "/runs/outputs", log_outputs),
    ("POST", "/runs/log-model", log_model),
)
