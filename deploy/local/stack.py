"""A whole stack: its directory, its processes, their order."""

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Self, TypedDict

from deploy.local import provision
from deploy.local.account import digest, own_directory
from deploy.local.backends import Backends
from deploy.local.credentials import Credentials
from deploy.local.errors import StackError
from deploy.local.front import front_spec
from deploy.local.identity import STACK_ID_VARIABLE, ProcessRecord
from deploy.local.kafka import kafka_spec
from deploy.local.leftovers import Leftovers, sweep_temporary
from deploy.local.options import StackOptions
from deploy.local.ports import Ports, configured_base, free_block, require_free
from deploy.local.postgres import postgres_spec
from deploy.local.process import ProcessSpec, SupervisedProcess
from deploy.local.processes import Context, base_environment, own_environment, service_spec
from deploy.local.s3 import s3_spec

log = logging.getLogger("headrace.local")

BACKENDS = ("kafka", "postgres", "s3")
TEMPORARY_PREFIX = "headrace-stack-"
# The path of a Unix socket may have 103 bytes at most, its file name included.
LONGEST_SOCKET_DIRECTORY = 80


class Survey(TypedDict):
    """One process as it is now."""

    name: str
    pid: int | None
    ready: bool
    address: str


class Stack:
    """Starts and supervises everything; use it as a context manager, or `start` and `stop` it."""

    def __init__(self, options: StackOptions, ports: Ports) -> None:
        self.options = options
        self.ports = ports
        self.directory = options.directory
        self.timings: dict[str, float] = {}
        self._processes: dict[str, SupervisedProcess] = {}
        self._lock: int | None = None
        self._prepare_directory()
        self.leftovers = Leftovers(self.directory)
        self._sockets = self._socket_directory()
        credentials = Credentials.of(self.directory / "credentials.json")
        self.backends = Backends.of(ports, credentials)
        self._credentials = credentials
        self._context = Context(
            ports=ports,
            backends=self.backends,
            directory=self.directory,
            sockets=self._sockets,
            options=options,
        )

    @classmethod
    def fixed(cls, options: StackOptions | None = None) -> "Stack":
        """The stack of the checkout, on the configured ports."""
        return cls(options or StackOptions(), Ports(configured_base()))

    @classmethod
    @contextlib.contextmanager
    def temporary(
        cls,
        services: Iterable[str] = (),
        *,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        durable: bool = False,
        log_level: str = "info",
    ) -> Iterator["Stack"]:
        """A running stack in a directory and on ports of its own; both are gone afterwards."""
        sweep_temporary(TEMPORARY_PREFIX)
        with free_block() as ports:
            directory = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
            options = StackOptions(
                directory=directory,
                services=tuple(services),
                environment=environment or {},
                durable=durable,
                log_level=log_level,
            )
            stack = cls(options, ports)
            try:
                with stack:
                    yield stack
            finally:
                stack.remove()

    @property
    def urls(self) -> dict[str, str]:
        """HTTP addresses by process name; "grpc" and "kafka" are host:port."""
        http = {name: self._context.url(name) for name in ("front", *self.options.services)}
        return http | {
            "grpc": f"127.0.0.1:{self.ports['grpc']}",
            "kafka": self.backends.kafka,
            "s3": self.backends.s3_endpoint,
        }

    @property
    def processes(self) -> Mapping[str, SupervisedProcess]:
        """All processes of the running stack by name."""
        return self._processes

    def process(self, name: str) -> SupervisedProcess:
        """One process; raises when this stack has none of that name."""
        if name not in self._processes:
            raise StackError(f"no process {name!r}; there are {', '.join(self._processes)}")
        return self._processes[name]

    def env(self, name: str) -> dict[str, str]:
        """The HEADRACE_* variables that a service process is started with, secrets included."""
        return own_environment(name, self._context)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything in order and wait until it is ready.

        Stops all of it again when one part fails.
        """
        self._take_lock()
        try:
            self.leftovers.end()
            require_free(self.ports)
            self.leftovers.begin(base=self.ports.base, services=self.options.services)
            self._start_in_order()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, the last started first."""
        try:
            for group in (("front",), self.options.services, BACKENDS):
                present = [self._processes[name] for name in group if name in self._processes]
                self._together([process.stop for process in present])
        finally:
            self.leftovers.end()
            self._release_lock()

    def remove(self) -> None:
        """Stop what runs and delete the stack's data."""
        self.leftovers.remove()
        shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def started(self) -> bool:
        """Whether everything became ready."""
        return "everything" in self.timings

    def survey(self) -> list[Survey]:
        """Asks every process, also those of a stack that another process supervises."""
        records = self.leftovers.recorded()
        specs = [*self._backend_specs(), *self._service_specs(), *self._front_specs()]
        return [self._ask(spec, records.get(spec.name)) for spec in specs]

    def _ask(self, spec: ProcessSpec, record: ProcessRecord | None) -> Survey:
        try:
            ready = record is not None and spec.ready()
        except (OSError, subprocess.SubprocessError):
            ready = False
        return Survey(
            name=spec.name,
            pid=None if record is None else record.pid,
            ready=ready,
            address=f"127.0.0.1:{self.ports[spec.name]}",
        )

    def _start_in_order(self) -> None:
        began = time.monotonic()
        self._add(self._backend_specs())
        self._together(
            [
                lambda: self._start("kafka", lambda: provision.topics(self.backends)),
                lambda: self._start("postgres", lambda: provision.database(self.backends)),
                lambda: self._start("s3", lambda: provision.bucket(self.backends)),
                provision.preload,
            ]
        )
        self._add(self._service_specs())
        self._together([self._starting(name) for name in self.options.services])
        self._add(self._front_specs())
        self._together([self._starting(spec.name) for spec in self._front_specs()])
        self.timings["everything"] = time.monotonic() - began

    def _starting(self, name: str) -> Callable[[], None]:
        return lambda: self._start(name)

    def _start(self, name: str, provide: Callable[[], None] | None = None) -> None:
        began = time.monotonic()
        self.process(name).start()
        self.timings[name] = time.monotonic() - began
        if provide is not None:
            began = time.monotonic()
            provide()
            self.timings[f"{name} provisioning"] = time.monotonic() - began
        log.info("%s is ready (%.1f s)", name, self.timings[name])

    def _add(self, specs: list[ProcessSpec]) -> None:
        for spec in specs:
            self._processes[spec.name] = SupervisedProcess(spec, directory=self.directory)

    def _backend_specs(self) -> list[ProcessSpec]:
        base = self._base()
        return [
            kafka_spec(directory=self.directory, ports=self.ports, env=base),
            postgres_spec(
                directory=self.directory,
                ports=self.ports,
                credentials=self._credentials,
                durable=self.options.durable,
                env=base,
            ),
            s3_spec(
                directory=self.directory,
                sockets=self._sockets,
                ports=self.ports,
                credentials=self._credentials,
                env=base,
            ),
        ]

    def _service_specs(self) -> list[ProcessSpec]:
        return [service_spec(name, self._context, self._base()) for name in self.options.services]

    def _front_specs(self) -> list[ProcessSpec]:
        if not self.options.services:
            return []
        return [front_spec(directory=self.directory, ports=self.ports, env=self._base())]

    def _base(self) -> dict[str, str]:
        return base_environment({STACK_ID_VARIABLE: self.leftovers.stack_id})

    def _together(self, actions: list[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max_workers=max(1, len(actions))) as pool:
            try:
                for future in as_completed([pool.submit(action) for action in actions]):
                    future.result()
            except BaseException:
                for process in self._processes.values():
                    process.abandon()
                raise

    def _prepare_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.directory.stat().st_uid != os.geteuid():
            raise StackError(
                f"{self.directory} belongs to another user; remove it or run as that user"
            )
        # Enterable, so that PostgreSQL's own user reaches its data; its secrets have mode 0600.
        self.directory.chmod(0o711)
        for name in ("logs", "run", "scratch", "model-cache"):
            (self.directory / name).mkdir(exist_ok=True, mode=0o700)

    def _socket_directory(self) -> Path:
        inside = self.directory.resolve() / "sockets"
        if len(str(inside)) <= LONGEST_SOCKET_DIRECTORY:
            return own_directory(inside, mode=0o700)
        name = f"headrace-sockets-{digest(f'{inside} {os.geteuid()}')}"
        return own_directory(Path(tempfile.gettempdir()) / name, mode=0o700)

    def _take_lock(self) -> None:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StackError(
                f"the stack in {self.directory} is already up; `make down` stops it"
            ) from None
        self._lock = descriptor

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
