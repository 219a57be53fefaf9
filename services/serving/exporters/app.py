"""The composition root of the exporters."""

from __future__ import annotations

from typing import Final, assert_never

import httpx

from headrace.events import PredictionLogged
from headrace.runtime.bus import Gathering, Subscription
from headrace.runtime.service import Resources, Service
from services.serving.exporters import files, kserve
from services.serving.exporters.files import FileExport, Format
from services.serving.exporters.kserve import HttpExport
from services.serving.settings import Settings

_HTTP_RECORDS: Final = 32
_FILE_RECORDS: Final = 5000
_FILE_BYTES: Final = 16 * 1024 * 1024


def build(settings: Settings) -> Service[Settings]:
    """Exports the prediction log as the settings say. Raises ValueError if they ask for none."""
    if settings.export_http_url is None and settings.export_files is None:
        raise ValueError(
            "nothing to export: set HEADRACE_SERVING_EXPORT_HTTP_URL or"
            " HEADRACE_SERVING_EXPORT_FILES"
        )
    return Service(
        name="serving",
        settings=settings.model_copy(update={"http_port": settings.export_http_port}),
        migrations="services.serving.migrations",
        subscriptions=_subscriptions,
    )


def _subscriptions(resources: Resources[Settings]) -> list[Subscription]:
    settings = resources.settings
    made = []
    if settings.export_http_url is not None:
        export = HttpExport(
            url=settings.export_http_url,
            source=settings.export_source,
            client=httpx.AsyncClient(timeout=settings.export_http_seconds),
            in_flight=settings.export_http_in_flight,
            clock=resources.clock,
        )
        made.append(
            Subscription(
                group=kserve.GROUP,
                prepared={PredictionLogged: export},
                max_records=_HTTP_RECORDS,
                twins_harmless=True,
            )
        )
    if settings.export_files is not None:
        made.append(
            Subscription(
                group=files.GROUP,
                prepared={
                    PredictionLogged: FileExport(
                        blobs=resources.blobs,
                        prefix=settings.export_prefix,
                        format_=_format(settings),
                    )
                },
                gathering=Gathering(seconds=settings.export_seconds, max_bytes=_FILE_BYTES),
                max_records=_FILE_RECORDS,
                twins_harmless=True,
            )
        )
    return made


def _format(settings: Settings) -> Format:
    match settings.export_files:
        case "parquet":
            from services.serving.exporters.parquet import parquet_files  # noqa: PLC0415

            return parquet_files
        case "capture":
            from services.serving.exporters.capture import capture_files  # noqa: PLC0415

            return capture_files
        case None:
            raise ValueError("no format")
        case other:
            assert_never(other)
