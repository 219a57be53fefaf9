"""The table of the platform's own processes: how each is started and which variables it gets."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deploy.local.backends import Backends
from deploy.local.options import CHECKOUT, StackOptions
from deploy.local.ports import Ports
from deploy.local.probes import answers
from deploy.local.process import ProcessSpec
from deploy.local.sides import SIDES

# All else of the caller's environment stays outside, but for settings that `up` is given.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ")
# One thread each: numeric libraries that start one per core fight over two cores.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PIPELINES = "examples.flights.pipeline"
# The front door asks four times a second and takes one failure for an answer.
DRAIN_SECONDS = "1"
# Draining, the bus, requests in hand and background work each have their own bound below this.
STOP_SECONDS = 30.0
# Where traces go is for the machine to say, once for all processes.
TELEMETRY_PREFIX = "OTEL_"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the variables of a process are made from."""

    ports: Ports
    backends: Backends
    directory: Path
    sockets: Path
    options: StackOptions

    def url(self, name: str) -> str:
        """The HTTP address of a process on loopback."""
        return f"http://127.0.0.1:{self.ports[name]}"


Variables = Callable[[Context], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class ServiceProcess:
    """One process: `python -m <module> <arguments>` with variables named HEADRACE_<PREFIX>_*."""

    module: str
    arguments: tuple[str, ...] = ()
    prefix: str
    variables: Variables


def _common(context: Context) -> dict[str, str]:
    return {
        "HTTP_HOST": "127.0.0.1",
        "LOG_LEVEL": context.options.log_level,
        "DRAIN_SECONDS": DRAIN_SECONDS,
    }


def _listening(name: str) -> Variables:
    return lambda context: _common(context) | {"HTTP_PORT": str(context.ports[name])}


def _kafka(context: Context) -> dict[str, str]:
    return {"KAFKA": context.backends.kafka}


def _s3(context: Context) -> dict[str, str]:
    return {
        "S3_ENDPOINT": context.backends.s3_endpoint,
        "S3_BUCKET": context.backends.s3_bucket,
        "S3_ACCESS_KEY": context.backends.s3_access_key,
        "S3_SECRET_KEY": context.backends.s3_secret_key,
    }


def _database(role: str) -> Variables:
    return lambda context: {"DATABASE_URL": context.backends.database_url(role)}


def _urls(*names: str) -> Variables:
    return lambda context: {f"{name.upper()}_URL": context.url(name) for name in names}


def _worker(context: Context) -> dict[str, str]:
    return {
        "SLOTS": "1",
        "SCRATCH_DIR": str(context.directory / "scratch"),
        "PIPELINES": PIPELINES,
        "READABLE_DIRS": "",
    }


def _serving(context: Context) -> dict[str, str]:
    return {
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": str(context.ports["grpc"]),
        "SOCKET": str(context.sockets / "serving.sock"),
        "CACHE_DIR": str(context.directory / "model-cache"),
        "WORKER_HTTP_PORT": str(context.ports["serving-worker"]),
        "ASYNC_WORKER": f"127.0.0.1:{context.ports['grpc']}",
        "LEARNER_REGISTRY_URL": context.url("registry"),
        **{side.port_variable: str(context.ports[side.name]) for side in SIDES},
    }


def _together(*parts: Variables) -> Variables:
    return lambda context: {name: value for part in parts for name, value in part(context).items()}


def _service(name: str, *own: Variables) -> ServiceProcess:
    return ServiceProcess(
        module=f"services.{name}",
        prefix=name.upper(),
        variables=_together(_listening(name), _kafka, *own),
    )


_SERVING = _together(_listening("serving"), _kafka, _s3, _database("serving"), _serving)


def _of_serving(*arguments: str) -> ServiceProcess:
    return ServiceProcess(
        module="services.serving", arguments=arguments, prefix="SERVING", variables=_SERVING
    )


PROCESSES: Mapping[str, ServiceProcess] = MappingProxyType(
    {
        "tracking": _service("tracking", _s3, _database("tracking")),
        "registry": _service("registry", _s3, _database("registry"), _urls("tracking")),
        "orchestrator": _service("orchestrator", _s3, _database("orchestrator"), _urls("registry")),
        "worker": ServiceProcess(
            module="services.orchestrator",
            arguments=("worker",),
            prefix="WORKER",
            variables=_together(_listening("worker"), _s3, _urls("orchestrator", "front"), _worker),
        ),
        "serving": _of_serving(),
        "serving-worker": _of_serving("worker"),
        **{side.name: _of_serving(side.argument) for side in SIDES},
        "monitoring": _service("monitoring", _s3, _database("monitoring")),
        "console": ServiceProcess(
            module="services.console",
            prefix="CONSOLE",
            variables=_together(
                _listening("console"),
                _kafka,
                _urls("front", "registry", "orchestrator", "monitoring", "serving"),
            ),
        ),
    }
)


def own_environment(name: str, context: Context) -> dict[str, str]:
    """The variables that are meant for this process alone, those of the options included."""
    process, options = PROCESSES[name], context.options
    prefix = f"HEADRACE_{process.prefix}_"
    theirs = {key: value for key, value in options.settings.items() if key.startswith(prefix)}
    own = {f"{prefix}{key}": value for key, value in process.variables(context).items()}
    return theirs | own | dict(options.environment.get(name, {}))


def base_environment(stack_id_variable: Mapping[str, str]) -> dict[str, str]:
    """What every process gets: the plain parts of the caller's environment and the stack's mark."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | dict(stack_id_variable)


def _telemetry() -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ if name.startswith(TELEMETRY_PREFIX)}


def service_spec(name: str, context: Context, base: Mapping[str, str]) -> ProcessSpec:
    """One of the platform's processes."""
    process = PROCESSES[name]
    python = {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'shared'}", "PYTHONUNBUFFERED": "1"}
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", process.module, *process.arguments),
        env={**base, **THREADS, **python, **_telemetry(), **own_environment(name, context)},
        cwd=CHECKOUT,
        stop_seconds=STOP_SECONDS,
        ready=lambda: answers(context.ports[name], "/readyz"),
    )
