"""Has the control process load and unload models for clients; blocks the thread that asks."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from headrace.errors import Permanent
from services.serving.link.frames import Kind, frame, receive_frame
from services.serving.link.messages import Hello, ModelAnswer, ModelRequest
from services.serving.worker.calls import Details
from services.serving.worker.failure import Code, Failure

_PATIENCE_SECONDS: Final = 30.0


class ExplicitControl:
    """Asks over a connection of its own, since the answer takes as long as loading does."""

    def __init__(self, *, socket_path: Path, worker: str) -> None:
        self._path = socket_path
        self._hello = Hello(worker=worker, pid=os.getpid(), channel="models")

    def load(self, model: str, details: Details) -> None:
        """Have all workers answer for it. Raises Failure."""
        self._ask("load", model, details)

    def unload(self, model: str, details: Details) -> None:
        """Have no worker answer for it. Raises Failure."""
        self._ask("unload", model, details)

    def _ask(self, action: Literal["load", "unload"], model: str, details: Details) -> None:
        request = ModelRequest(action=action, model=model)
        try:
            answer = self._answer(request, _seconds_left(details))
        except (OSError, EOFError, Permanent, ValidationError) as error:
            raise Failure(
                Code.UNAVAILABLE, f"{action} of '{model}': the control process does not answer"
            ) from error
        if answer.code:
            raise Failure(Code(answer.code), answer.message)

    def _answer(self, request: ModelRequest, seconds: float) -> ModelAnswer:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self._path))
            connection.sendall(
                frame(Kind.HELLO, self._hello.model_dump_json().encode())
                + frame(Kind.MODEL_REQUEST, request.model_dump_json().encode())
            )
            return ModelAnswer.model_validate_json(receive_frame(connection)[1])


def _seconds_left(details: Details) -> float:
    if details.deadline is None:
        return _PATIENCE_SECONDS
    return min(max(details.deadline - time.monotonic(), 0.001), _PATIENCE_SECONDS)
