"""`python -m services.tracking`."""

from __future__ import annotations

from headrace.runtime.service import run
from services.tracking.app import build
from services.tracking.settings import Settings

if __name__ == "__main__":
    run(build(Settings()))
