"""What importers send: experiments, runs in parts, logged models, and what is there already.

A run may come in several requests, its points in order: the last one brings status, end time and
the tag that says the import is complete. Sending anything twice changes nothing.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from pydantic import ValidationError

from headrace.errors import InvalidInput
from headrace.events import RunReported
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.fields import Fields
from services.tracking.api.logging import read_dataset
from services.tracking.domain.entities import (
    MODEL_STATUSES,
    RUN_STATUSES,
    LifecycleStage,
    Metric,
    ModelMetric,
    ModelOutput,
)
from services.tracking.domain.imports import Home, ImportedModel, ImportedRun, check_asked
from services.tracking.domain.intake import check_report, entry_of_report
from services.tracking.domain.names import (
    check_experiment_name,
    check_key,
    check_model_name,
    check_run_id,
    experiment_tag_of,
    param_of,
    tag_of,
)
from services.tracking.domain.values import integer_of, missing
from services.tracking.store import imports as store

_STAGES: Final = ("active", "deleted")


async def put_experiment(call: Call) -> Document:
    home, clock = _home(call.fields), call.resources.clock
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await store.put_experiment(tx, home, project=call.project, clock=clock)
        await store.retire_experiment(tx, home, found, clock=clock)
    return {"experiment_id": found.experiment_id, "artifact_location": found.artifact_location}


async def put_run(call: Call) -> Document:
    home, run, clock = _home(call.fields), _run(call), call.resources.clock
    async with call.resources.bus.transaction(call.caller) as tx:
        found = await store.put_experiment(tx, home, project=call.project, clock=clock)
        info = await store.put_run(tx, found, run, project=call.project, clock=clock)
        await store.retire_experiment(tx, home, found, clock=clock)
    return {
        "run_id": info.run_id,
        "experiment_id": info.experiment_id,
        "artifact_uri": info.artifact_uri,
    }


async def put_model(call: Call) -> Document:
    home, model = _home(call.fields), _model(_inner(call.fields, "model"))
    async with call.resources.bus.transaction(call.caller) as tx:
        clock = call.resources.clock
        found = await store.put_experiment(tx, home, project=call.project, clock=clock)
        location = await store.put_model(tx, found, model, project=call.project)
    return {
        "model_id": model.model_id,
        "experiment_id": found.experiment_id,
        "artifact_uri": location,
    }


async def find_known(call: Call) -> Document:
    """Which of the given runs and models need not be sent: `[{id, fingerprint}]` each."""
    kinds: tuple[tuple[Literal["run", "model"], str], ...] = (("run", "runs"), ("model", "models"))
    found: Document = {}
    async with call.resources.pool.acquire() as connection:
        for kind, name in kinds:
            asked = {
                entry.required("id"): entry.required("fingerprint")
                for entry in call.fields.each(name)
            }
            check_asked(len(asked), field=name)
            found[name] = await store.known(
                connection, kind, project=call.project, fingerprints=asked
            )
    return found


def _home(fields: Fields) -> Home:
    given = _inner(fields, "experiment")
    created = given.integer("creation_time")
    if created is not None:
        integer_of(created, path="experiment.creation_time", least=0)
    return Home(
        name=check_experiment_name(given.required("name")),
        lifecycle_stage=_stage(given),
        creation_time=None
        if created is None
        else integer_of(created, path="creation_time", least=0),
        tags=dict(experiment_tag_of(key, value) for key, value in given.pairs("tags")),
    )


def _run(call: Call) -> ImportedRun:
    fields = _inner(call.fields, "run")
    name = _inner(call.fields, "experiment").required("name")
    report = _report(fields, experiment=name, project=call.project)
    check_report(report, project=call.project)
    return ImportedRun(
        report=report,
        entry=entry_of_report(report, chain=call.chain),
        user_id=fields.text("user_id") or "",
        lifecycle_stage=_stage(fields),
        datasets=[read_dataset(entry) for entry in fields.each("datasets")],
        model_inputs=[entry.required("model_id") for entry in fields.each("model_inputs")],
        model_outputs=[
            ModelOutput(model_id=entry.required("model_id"), step=entry.integer("step") or 0)
            for entry in fields.each("model_outputs")
        ],
    )


def _report(fields: Fields, *, experiment: str, project: str) -> RunReported:
    """The run as a producer would report it. Raises InvalidInput naming the field."""
    given = {
        "project": project,
        "run_id": check_run_id(fields.required("run_id")),
        "experiment": experiment,
        "run_name": fields.text("run_name"),
        "status": fields.choice("status", RUN_STATUSES),
        "start_time": fields.integer("start_time"),
        "end_time": fields.integer("end_time"),
        "params": dict(fields.pairs("params")),
        "tags": dict(fields.pairs("tags")),
        "metrics": fields.objects("metrics"),
    }
    try:
        return RunReported.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = "run." + ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path}: {first['msg']}", field=path) from error


def _model(fields: Fields) -> ImportedModel:
    model_id = check_run_id(fields.required("model_id"))
    status = fields.choice("status", MODEL_STATUSES, first=0)
    return ImportedModel(
        model_id=model_id,
        name=check_model_name(fields.required("name")),
        model_type=fields.text("model_type") or "",
        status=status or "LOGGED_MODEL_STATUS_UNSPECIFIED",
        status_message=fields.text("status_message") or "",
        source_run_id=fields.text("source_run_id") or "",
        creation_timestamp=integer_of(fields.integer("creation_timestamp_ms") or 0, path="model"),
        last_updated_timestamp=integer_of(
            fields.integer("last_updated_timestamp_ms") or 0, path="model"
        ),
        tags=dict(tag_of(key, value) for key, value in fields.pairs("tags")),
        params=dict(param_of(key, value) for key, value in fields.pairs("params")),
        metrics=[_model_metric(entry, model_id) for entry in fields.each("metrics")],
    )


def _model_metric(entry: Fields, model_id: str) -> ModelMetric:
    return ModelMetric(
        model_id=model_id,
        run_id=entry.text("run_id") or "",
        dataset_name=entry.text("dataset_name") or "",
        dataset_digest=entry.text("dataset_digest") or "",
        metric=Metric(
            key=check_key(entry.required("key"), path="metrics.key", what="Metric name"),
            value=entry.real("value"),
            timestamp=integer_of(entry.integer("timestamp"), path="metrics.timestamp", least=0),
            step=entry.integer("step") or 0,
        ),
    )


def _stage(fields: Fields) -> LifecycleStage:
    return cast("LifecycleStage", fields.choice("lifecycle_stage", _STAGES) or "active")


def _inner(fields: Fields, name: str) -> Fields:
    given = fields.inner(name)
    if given is None:
        raise missing(name)
    return given


ROUTES: Final[RouteTable] = (
    ("POST", "/imports/experiments", put_experiment),
    ("POST", "/imports/runs", put_run),
    ("POST", "/imports/models", put_model),
    ("POST", "/imports/known", find_known),
)
