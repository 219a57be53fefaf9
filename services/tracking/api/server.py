"""What the server says of itself."""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from headrace import __version__
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.errors import response

MLFLOW_VERSION: Final = f"3.17.2+headrace.{__version__}"
"""The MLflow whose API this server speaks; clients compare it (PEP 440)."""


class Anything(Convertor[str]):
    """The rest of a path, line breaks included: Starlette's own `path` ends at one."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


async def server_info(call: Call) -> Document:
    _ = call
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "artifact_serving_enabled": True,
        "features_enabled": {"gateway": False},
    }


async def version(request: Request) -> Response:
    _ = request
    return PlainTextResponse(MLFLOW_VERSION)


async def health(request: Request) -> Response:
    _ = request
    return PlainTextResponse("OK")


async def not_found(request: Request) -> Response:
    """Clients fall back to older endpoints on this error code."""
    message = f"No API found for '{request.method} {request.url.path}'"
    return response(404, "ENDPOINT_NOT_FOUND", message)


ROUTES: Final[RouteTable] = (("GET", "/server-info", server_info),)
