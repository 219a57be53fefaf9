"""Whose artifacts are meant: a run's or a logged model's."""

from __future__ import annotations

from headrace.errors import NotFound
from headrace.runtime.service import Resources
from services.tracking.domain.errors import no_run
from services.tracking.domain.paths import ROOT, file_path, key_of, path_of_uri
from services.tracking.settings import Settings
from services.tracking.store import models, runs


async def run_root(resources: Resources[Settings], run_id: str) -> str:
    """The artifact URI of a run in any stage. Raises NotFound."""
    async with resources.pool.acquire() as connection:
        run = await runs.find_run(connection, project=resources.settings.project, run_id=run_id)
    if run is None:
        raise no_run(run_id)
    return run.artifact_uri


async def model_root(resources: Resources[Settings], model_id: str) -> str:
    """The artifact URI of a logged model. Raises NotFound."""
    async with resources.pool.acquire() as connection:
        model = await models.get_model(
            connection, project=resources.settings.project, model_id=model_id
        )
    return model.artifact_location


def file_key(root_uri: str, path: str) -> str:
    """Where a file below an artifact URI lies in the bucket. Raises InvalidInput."""
    return key_of(path_of_uri(root_uri, file_path(path)))


def no_artifact(key: str) -> NotFound:
    """The error for a file that is not there, without where the store keeps it."""
    return NotFound(f"No such artifact: '{key.removeprefix(ROOT)}'")
