"""The native front-end with what it has no streams for: a grpcio server behind it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from services.serving.worker.fronts.door import Door
from services.serving.worker.fronts.native_front import NativeFront
from services.serving.worker.fronts.streams import Streams


class NativeFrontWithStreams:
    """Passes calls with streams on to a grpcio server that listens for this process alone."""

    def __init__(self, native: NativeFront, *, streams: Streams, max_message_bytes: int) -> None:
        self._native = native
        self._directory = Path(tempfile.mkdtemp(prefix="headrace-streams-"))
        self._door = Door(self._directory, streams=streams, max_message_bytes=max_message_bytes)
        native.pass_on_to(str(self._door.path))

    @property
    def port(self) -> int:
        return self._native.port

    def start(self) -> None:
        self._door.start()
        self._native.start()

    def stop(self, grace: float) -> None:
        # Streams go through the native server: it must outlive their last answers.
        self._door.stop(grace)
        self._native.stop(grace)
        shutil.rmtree(self._directory, ignore_errors=True)
