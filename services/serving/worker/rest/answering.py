"""From a whole request to a whole answer, in whichever thread: no rule of HTTP but is kept here."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from headrace.runtime.telemetry import Log
from services.serving.worker.calls import Call, Details
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.rest.asked import Asked, Calls
from services.serving.worker.rest.compression import accepted, compress, decompress
from services.serving.worker.rest.http import Answer, Refusal, Request, error_answer
from services.serving.worker.rest.routes import Route

_WORTH_PACKING: Final = 1024
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS: Final[Mapping[str, float]] = {
    "H": 3600.0,
    "M": 60.0,
    "S": 1.0,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes in bytes. `json` is for what is parsed, since that takes many times its size."""

    body: int
    json: int


class Answering:
    """Answers with a dispatcher's methods."""

    def __init__(self, *, methods: Mapping[str, Call], limits: Limits, log: Log) -> None:
        self._calls = Calls(methods)
        self._limits = limits
        self._log = log

    def answer(self, request: Request, route: Route) -> Answer:
        """The answer, an error's included: this raises nothing."""
        try:
            found = self._answer(request, route)
        except (Failure, Refusal) as error:
            return error_answer(error)
        except Exception as error:
            self._log.exception("rest_call_failed", path=request.path)
            what = f"an internal error: {type(error).__name__}"
            return error_answer(Failure(Code.INTERNAL, what))
        return _packed(found, request)

    def _answer(self, request: Request, route: Route) -> Answer:
        function = route.function(request.method)
        body = decompress(
            request.body, request.header(b"content-encoding"), limit=self._limits.body
        )
        return function(
            Asked(
                request=request if body is request.body else replace(request, body=body),
                calls=self._calls,
                details=_details(request),
                max_json_bytes=self._limits.json,
                names=route.names,
            )
        )


def _details(request: Request) -> Details:
    """Headers as metadata; gRPC's own timeout header, which its HTTP gateways take as well."""
    timeout = request.header(b"grpc-timeout")
    return Details(
        metadata=[
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in request.headers
        ],
        deadline=None if timeout is None else time.monotonic() + _seconds(timeout),
    )


def _seconds(timeout: str) -> float:
    found = _TIMEOUT.fullmatch(timeout)
    if found is None:
        raise invalid(
            "header 'grpc-timeout': expected up to 8 digits and one of H, M, S, m, u, n, got "
            f"'{timeout[:32]}'"
        )
    return int(found[1]) * _SECONDS[found[2]]


def _packed(answer: Answer, request: Request) -> Answer:
    if len(answer.body) < _WORTH_PACKING:
        return answer
    encoding = accepted(request.header(b"accept-encoding"))
    if encoding is None:
        return answer
    named = ((b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding"))
    return replace(answer, body=compress(answer.body, encoding), headers=(*answer.headers, *named))
