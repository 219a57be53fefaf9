"""Which function answers a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from services.serving.worker.failure import invalid
from services.serving.worker.rest import models, repository, settings, shared_memory
from services.serving.worker.rest.asked import Function
from services.serving.worker.rest.http import Refusal
from services.serving.worker.rest.infer import infer


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """What answers a path, by method. `predicts` costs what the model of the path costs."""

    functions: Mapping[str, Function]
    predicts: bool = False
    waits: bool = False
    """Whether it may wait for something outside of this process' memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """An endpoint and the variable parts of the path that led to it."""

    endpoint: Endpoint
    names: Mapping[str, str]

    def function(self, method: str) -> Function:
        """Raises Refusal for a method that the path does not have."""
        functions = self.endpoint.functions
        found = functions.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(functions)
            raise Refusal(
                405, f"method {method}: expected {allowed}", ((b"allow", allowed.encode()),)
            )
        return found


def _get(function: Function) -> Endpoint:
    return Endpoint(functions={"GET": function})


def _post(function: Function) -> Endpoint:
    return Endpoint(functions={"POST": function}, waits=True)


def _both(function: Function) -> Endpoint:
    return Endpoint(functions={"GET": function, "POST": function}, waits=True)


_INFER: Final = Endpoint(functions={"POST": infer}, predicts=True)
_OF_MODEL: Final[Mapping[str, Endpoint]] = {
    "": _get(models.model_metadata),
    "/ready": _get(models.model_ready),
    "/config": _get(models.model_config),
    "/stats": _get(models.statistics),
    "/infer": _INFER,
}
_MEMORY: Final[Mapping[str, Endpoint]] = {
    f"/{kind}sharedmemory{where}/{verb}": endpoint
    for kind, family, register in (
        ("system", "System", shared_memory.register_system),
        ("cuda", "Cuda", shared_memory.register_cuda),
    )
    for where, verb, endpoint in (
        ("", "status", _get(shared_memory.status(family))),
        ("", "unregister", _post(shared_memory.unregister(family))),
        ("/region/{region}", "status", _get(shared_memory.status(family))),
        ("/region/{region}", "unregister", _post(shared_memory.unregister(family))),
        ("/region/{region}", "register", _post(register)),
    )
}
_TEMPLATES: Final[Mapping[str, Endpoint]] = {
    "": _get(models.server_metadata),
    "/health/live": _get(models.live),
    "/health/ready": _get(models.ready),
    "/models/stats": _get(models.statistics),
    **{f"/models/{{model}}{rest}": endpoint for rest, endpoint in _OF_MODEL.items()},
    **{
        f"/models/{{model}}/versions/{{version}}{rest}": endpoint
        for rest, endpoint in _OF_MODEL.items()
    },
    "/repository/index": _post(repository.index),
    "/repository/models/{model}/load": _post(repository.load),
    "/repository/models/{model}/unload": _post(repository.unload),
    "/trace/setting": _both(settings.trace),
    "/models/{model}/trace/setting": _both(settings.trace),
    "/logging": _both(settings.logging),
    **_MEMORY,
}
_PATTERNS: Final = [
    (f"/v2{template}".split("/"), endpoint) for template, endpoint in _TEMPLATES.items()
]


@lru_cache(maxsize=1024)
def find(path: str) -> Route:
    """The route of a path as it was sent.

    Raises Refusal for an unknown one, Failure for bytes that are no text.
    """
    parts = path.split("/")
    for pattern, endpoint in _PATTERNS:
        names = _match(pattern, parts)
        if names is not None:
            return Route(endpoint=endpoint, names=names)
    raise Refusal(404, f"'{path[:200]}' is not a path of the Open Inference Protocol")


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    names: dict[str, str] = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{") and part:
            names[wanted[1:-1]] = _text(part)
        elif wanted != part:
            return None
    return names


def _text(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the path is not UTF-8: '{part[:64]}'") from error
