"""`python -m services.serving` is the control process, an argument names another one."""

from __future__ import annotations

import sys
from typing import Any

from headrace.runtime.service import Service, run
from services.serving.settings import Settings


def service_for(arguments: list[str]) -> Service[Any]:
    """The process that the arguments name. Exits with usage for anything else.

    Each side's modules are imported for it alone: a worker never loads Kafka or S3 code of ours,
    the control process no ONNX Runtime.
    """
    match arguments:
        case []:
            from services.serving.app import build  # noqa: PLC0415

            return build(Settings())
        case ["worker"]:
            from services.serving.worker.app import build as build_worker  # noqa: PLC0415

            return build_worker(Settings())
        case ["asynchronous"]:
            from services.serving.asynchronous.app import build as build_asynchronous  # noqa: PLC0415

            return build_asynchronous(Settings())
        case ["exporters"]:
            from services.serving.exporters.app import build as build_exporters  # noqa: PLC0415

            return build_exporters(Settings())
        case ["learner"]:
            from services.serving.learner.app import build as build_learner  # noqa: PLC0415

            return build_learner(Settings())
        case _:
            sys.exit("usage: python -m services.serving [worker|asynchronous|exporters|learner]")


if __name__ == "__main__":
    run(service_for(sys.argv[1:]))
