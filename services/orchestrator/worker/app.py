"""The worker, wired."""

from __future__ import annotations

import socket

from headrace.errors import InvalidInput
from headrace.ids import new_id
from headrace.runtime.blobs import Blobs
from headrace.runtime.service import Resources, Service
from services.orchestrator.settings import WorkerSettings
from services.orchestrator.worker.attempt import Surroundings
from services.orchestrator.worker.cache import BlobCache
from services.orchestrator.worker.link import Link
from services.orchestrator.worker.nursery import Nursery
from services.orchestrator.worker.supervisor import Supervisor


def build(settings: WorkerSettings) -> Service[WorkerSettings]:
    """The process for these settings: health over HTTP, the supervisor in the background."""
    made: list[Supervisor] = []

    def supervisor(resources: Resources[WorkerSettings]) -> Supervisor:
        if not made:
            made.append(_supervisor(resources))
        return made[0]

    async def unready(resources: Resources[WorkerSettings]) -> str | None:
        registered = supervisor(resources).registered.is_set()
        return None if registered else "pipelines: not registered with the orchestrator yet"

    return Service(
        name="worker",
        settings=settings,
        background=lambda resources: [supervisor(resources).run],
        checks=lambda resources: [lambda: unready(resources)],
        on_stop=lambda resources: supervisor(resources).retire(),
        database=False,
    )


def worker_name(settings: WorkerSettings) -> str:
    """The name that stays the same over restarts: host and ordinal."""
    return f"{socket.gethostname()}-{settings.instance}"


def _supervisor(resources: Resources[WorkerSettings]) -> Supervisor:
    settings = resources.settings
    for directory in settings.readable_dirs:
        if not directory.is_dir():
            raise InvalidInput(f"readable_dirs: {directory} is not a directory")
    scratch = settings.scratch_dir.absolute()
    name = worker_name(settings)
    log = resources.log.bind(worker=name)
    nursery = Nursery(modules=settings.pipelines, log=log)
    around = Surroundings(
        worker=name,
        session=new_id(),
        nursery=nursery,
        cache=_cache(settings, resources.blobs),
        blobs=resources.blobs,
        scratch_dir=scratch / name,
        readable=[path.absolute() for path in settings.readable_dirs],
        front_url=settings.front_url,
    )
    return Supervisor(
        around=around,
        link=Link.to(settings.orchestrator_url, log),
        slots=settings.slots,
        heartbeat_seconds=settings.heartbeat_seconds,
        log=log,
    )


def _cache(settings: WorkerSettings, blobs: Blobs) -> BlobCache:
    directory = settings.scratch_dir.absolute() / f"cache-{settings.instance}"
    return BlobCache(directory=directory, blobs=blobs, limit=settings.cache_bytes)
