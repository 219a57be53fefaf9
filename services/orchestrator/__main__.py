"""`python -m services.orchestrator` is the engine; with the argument `worker`, a worker."""

from __future__ import annotations

import sys

from headrace.runtime.service import run


def main(arguments: list[str]) -> None:
    """Start the process that the arguments name."""
    if arguments == ["worker"]:
        from services.orchestrator.settings import WorkerSettings  # noqa: PLC0415
        from services.orchestrator.worker.app import build as build_worker  # noqa: PLC0415

        run(build_worker(WorkerSettings()))
    elif not arguments:
        from services.orchestrator.app import build  # noqa: PLC0415
        from services.orchestrator.settings import Settings  # noqa: PLC0415

        run(build(Settings()))
    else:
        sys.exit(f"usage: python -m services.orchestrator [worker]; got {' '.join(arguments)}")


if __name__ == "__main__":
    main(sys.argv[1:])
