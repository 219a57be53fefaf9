"""What the server says of itself."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from headrace import __version__
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.errors import response

MLFLOW_VERSION: Final = f"3.18.0+headrace.{__version__}"
"""The MLflow whose API this server speaks; clients compare it (PEP 440)."""


async def server_info(call: Call) -> Document:
    """What clients ask once a minute: above all by which way artifacts go."""
    settings = call.resources.settings
    direct = settings.direct_transfer
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": direct,
        "multipart_downloads_enabled": direct,
        "artifacts_presigned_only": settings.artifact_transfer == "direct-only",
        "presigned_upload_run_id_supported": direct,
        "presigned_upload_model_id_supported": direct,
        "model_artifact_presigned_downloads_supported": direct,
        "artifact_serving_enabled": True,
        "features_enabled": {"gateway": False},
    }


async def version(request: Request) -> Response:
    _ = request
    return PlainTextResponse(MLFLOW_VERSION)


async def health(request: Request) -> Response:
    _ = request
    return PlainTextResponse("OK")


async def unrouted(request: Request, error: HTTPException) -> Response:
    """What no route takes, as MLflow's error JSON."""
    code = "ENDPOINT_NOT_FOUND" if error.status_code == 404 else "BAD_REQUEST"
    message = f"'{request.method} {request.url.path}': {error.detail}"
    return response(error.status_code, code, message, dict(error.headers or {}))


async def not_found(request: Request) -> Response:
    """Clients fall back to older endpoints on this error code."""
    message = f"No API found for '{request.method} {request.url.path}'"
    return response(404, "ENDPOINT_NOT_FOUND", message)


ROUTES: Final[RouteTable] = (("GET", "/server-info", server_info),)
