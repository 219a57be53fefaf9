"""`/model-versions/get-artifact`: one file of a version, as it was when it was registered."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.service.attachments import attachment
from services.registry.api.context import Context
from services.registry.api.mlflow.arguments import Arguments
from services.registry.api.mlflow.errors import MlflowRoute
from services.registry.domain import names
from services.registry.store import versions


def router(context: Context) -> APIRouter:
    routes = APIRouter(route_class=MlflowRoute, include_in_schema=False)

    @routes.get("/model-versions/get-artifact")
    async def get_artifact(request: Request) -> Response:
        given = await Arguments.of(request)
        name = names.check_model_name(given.required("name"))
        number = names.version_number(given.required("version"))
        path = _safe(given.required("path"))
        async with context.reading() as connection:
            version = await versions.get(
                connection, project=context.project, name=name, version=number
            )
            files = await versions.files(connection, version_id=version.id)
        found = next((file for file in files if file.path == path), None)
        if found is None:
            raise NotFound(f"No such artifact: '{path}'")
        blobs = context.resources.blobs
        return attachment(blobs, found.uri, size=found.size, name=posixpath.basename(path))

    return routes


def _safe(path: str) -> str:
    """The path, decoded until nothing changes. Raises InvalidInput when it climbs."""
    while (once := unquote(path)) != path:
        path = once
    if path.startswith("/") or "#" in path or "\\" in path or ".." in path.split("/"):
        raise InvalidInput("Invalid path", field="path")
    return posixpath.normpath(path)
