"""`python -m services.registry`: run the registry."""

from __future__ import annotations

from headrace.runtime.service import run
from services.registry.app import build
from services.registry.settings import Settings

if __name__ == "__main__":
    run(build(Settings()))
