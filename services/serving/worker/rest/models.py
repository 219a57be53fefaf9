"""What the server and its models are, and whether they are ready."""

from __future__ import annotations

from google.protobuf.message import Message

from services.serving.documents.json_body import Object
from services.serving.worker.rest.asked import Asked
from services.serving.worker.rest.documents import document_of
from services.serving.worker.rest.http import Answer, json_answer


def server_metadata(asked: Asked) -> Answer:
    return json_answer(_answered(asked, "ServerMetadata"))


def live(asked: Asked) -> Answer:
    return _flag(_answered(asked, "ServerLive"), "live")


def ready(asked: Asked) -> Answer:
    return _flag(_answered(asked, "ServerReady"), "ready")


def model_ready(asked: Asked) -> Answer:
    """A model that is unknown is not ready, as in the gRPC call."""
    found = _answered(asked, "ModelReady", **_of_path(asked))
    return _flag({"name": asked.model, **found}, "ready")


def model_metadata(asked: Asked) -> Answer:
    found = _answered(asked, "ModelMetadata", **_of_path(asked))
    if not found.get("properties"):
        found.pop("properties", None)
    return json_answer(found)


def model_config(asked: Asked) -> Answer:
    return json_answer(_answered(asked, "ModelConfig", **_of_path(asked)).get("config", {}))


def statistics(asked: Asked) -> Answer:
    """Of one model, or of all where the path names none."""
    return json_answer(_answered(asked, "ModelStatistics", **_of_path(asked)))


def _of_path(asked: Asked) -> dict[str, str]:
    return {"name": asked.model, "version": asked.version}


def _flag(found: Object, name: str) -> Answer:
    """200 for yes and 503 for no, so that probes need not read the body."""
    return json_answer(found, 200 if found[name] else 503)


def _answered(asked: Asked, method: str, **fields: str) -> Object:
    request: Message = asked.calls.message(method)
    for name, value in fields.items():
        setattr(request, name, value)
    return document_of(asked.calls.ask(method, request, asked.details))
