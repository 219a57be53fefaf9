"""Models whose loading runs code: never in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import Refused
from services.serving.domain.formats import Format

if TYPE_CHECKING:
    from services.serving.worker.model import Model


def load_pickled(path: Path, *, name: str, version: int, kind: Format) -> Model:
    """A model that runs in a sandboxed process of its own. Raises Refused."""
    raise Refused(
        f"{name} version {version}: {path.name} ({kind.value}) runs code when it is loaded, which "
        "this server does only for signed models in a sandboxed process, and it has none; save "
        "it as skops, or convert it to ONNX with `headrace models convert`"
    )
