"""SageMaker's data capture: a JSON line a request, in a folder a model version and hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import quote

import orjson

from headrace.events.envelope import format_time
from services.serving.exporters.files import ExportedFile, Record, file_name
from services.serving.exporters.requests import Logged, requests_of


def capture_files(events: Sequence[Record]) -> list[ExportedFile]:
    """`<model>/<version>/yyyy/mm/dd/hh/`: endpoint and variant in SageMaker's terms.

    What reads them expects an answer in each line: requests that failed are left out.
    """
    lines: dict[str, list[tuple[Record, bytes]]] = defaultdict(list)
    for event in events:
        if event.data.error:
            continue
        for logged in requests_of(event.data):
            lines[_folder(logged)].append((event, _line(logged)))
    return [
        ExportedFile(
            key=f"{folder}/{file_name(found[0][0], 'jsonl')}",
            data=b"".join(line for _, line in found),
        )
        for folder, found in lines.items()
    ]


def _folder(logged: Logged) -> str:
    hour = logged.happened_at.strftime("%Y/%m/%d/%H")
    return f"{quote(logged.model, safe='')}/{logged.version}/{hour}"


def _line(logged: Logged) -> bytes:
    document = {
        "captureData": {
            "endpointInput": _side("INPUT", logged.request),
            "endpointOutput": _side("OUTPUT", logged.response),
        },
        "eventMetadata": {
            "eventId": logged.id,
            "inferenceId": logged.request_id,
            "inferenceTime": format_time(logged.happened_at),
        },
        "eventVersion": "0",
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _side(mode: str, data: bytes) -> dict[str, str]:
    return {
        "observedContentType": "application/json",
        "mode": mode,
        "data": data.decode(),
        "encoding": "JSON",
    }
