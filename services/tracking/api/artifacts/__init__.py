"""Artifacts: listed, streamed through this server, or sent straight to S3 by signed URLs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.tracking.api.artifacts import direct, streams
from services.tracking.api.artifacts.listing import list_proxy, list_run
from services.tracking.api.artifacts.streams import Stream, streaming
from services.tracking.api.call import RouteTable

StreamTable = Sequence[tuple[str, str, Stream]]

RUN_ROUTES: Final[RouteTable] = (
    ("GET", "/artifacts/list", list_run),
    ("POST", "/artifacts/presigned-upload-url", direct.presign_write),
    ("POST", "/artifacts/presigned-download-url", direct.presign_read),
)
RUN_STREAMS: Final[StreamTable] = (
    ("GET", "/logged-models/{model_id}/artifacts/files", streaming(streams.get_of_model)),
    ("POST", "/upload-artifact", streaming(streams.put_of_run)),
)
PROXY_ROUTES: Final[RouteTable] = (
    ("GET", "/artifacts", list_proxy),
    ("POST", "/mpu/create/{path:path}", direct.create_upload),
    ("POST", "/mpu/complete/{path:path}", direct.complete_upload),
    ("POST", "/mpu/abort/{path:path}", direct.abort_upload),
    ("POST", "/mpu/create", direct.create_upload),
    ("POST", "/mpu/complete", direct.complete_upload),
    ("POST", "/mpu/abort", direct.abort_upload),
    ("GET", "/presigned/{path:path}", direct.presign_proxied),
)
PROXY_STREAMS: Final[StreamTable] = (
    ("PUT", "/artifacts/{path:path}", streaming(streams.put)),
    ("GET", "/artifacts/{path:path}", streaming(streams.get)),
    ("DELETE", "/artifacts/{path:path}", streaming(streams.delete)),
)
PAGE_STREAMS: Final[StreamTable] = (("GET", "/get-artifact", streaming(streams.get_of_run)),)
