"""compose.yaml against its schema, the settings classes and deploy/local, without an engine."""

import os
import re
import stat
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic_settings import BaseSettings

from deploy import compose_env, provision
from deploy.local.backends import Backends
from deploy.local.credentials import Credentials
from deploy.local.front import front_environment
from deploy.local.kafka import PROPERTIES, VERSION
from deploy.local.options import CHECKOUT, ON_REQUEST, SERVICES, StackOptions
from deploy.local.ports import DEFAULT_BASE, OFFSETS, Ports
from deploy.local.postgres import SETTINGS
from deploy.local.processes import PROCESSES, Context, own_environment
from deploy.local.s3 import s3_spec

TEXT = compose_env.COMPOSE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
PLATFORM = (*SERVICES, *ON_REQUEST)


def _settings_class(service: str) -> type[BaseSettings]:
    module = f"{PROCESSES[service].module}.settings"
    name = "WorkerSettings" if service == "worker" else "Settings"
    found: type[BaseSettings] = getattr(import_module(module), name)
    return found


def _interpolated(service: str) -> dict[str, str]:
    """The environment as the container would see it, each required secret replaced by "secret"."""

    def value(match: re.Match[str]) -> str:
        return match["default"] if match["kind"] == ":-" else "secret"

    pattern = re.compile(r"\$\{(?P<name>\w+)(?P<kind>:-|:\?)(?P<default>[^}]*)\}")
    environment: dict[str, object] = COMPOSE["services"][service].get("environment", {})
    return {name: pattern.sub(value, str(text)) for name, text in environment.items()}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """What deploy/local makes the variables of its processes from."""
    ports = Ports(DEFAULT_BASE)
    return Context(
        ports=ports,
        backends=Backends.of(ports, Credentials()),
        directory=tmp_path,
        sockets=tmp_path,
        options=StackOptions(),
    )


def test_compose_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    done = subprocess.run(
        [*check, str(compose_env.COMPOSE)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_runs_the_processes_of_the_native_stack() -> None:
    backends = {"kafka", "postgres", "s3", "provision", "front"}

    assert set(COMPOSE["services"]) == {*PLATFORM, *backends}


def test_compose_runs_on_request_what_the_native_stack_does() -> None:
    on_request = {name for name, service in COMPOSE["services"].items() if "profiles" in service}

    assert on_request == set(ON_REQUEST)


def test_requests_over_kafka_go_to_the_workers_of_serving() -> None:
    worker = f"serving-worker:{DEFAULT_BASE + OFFSETS['grpc']}"

    assert _interpolated("serving-asynchronous")["HEADRACE_SERVING_ASYNC_WORKER"] == worker


@pytest.mark.parametrize("service", PLATFORM)
def test_compose_starts_each_process_as_the_native_stack_does(service: str) -> None:
    process = PROCESSES[service]

    assert COMPOSE["services"][service]["command"] == [
        "python",
        "-m",
        process.module,
        *process.arguments,
    ]


@pytest.mark.parametrize("service", PLATFORM)
def test_each_process_takes_all_that_compose_passes(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, _interpolated(service))

    _settings_class(service)()


@pytest.mark.parametrize("service", PLATFORM)
def test_each_process_takes_all_that_the_native_stack_passes(
    service: str, monkeypatch: pytest.MonkeyPatch, context: Context
) -> None:
    _only(monkeypatch, own_environment(service, context))

    _settings_class(service)()


@pytest.mark.parametrize("service", PLATFORM)
def test_compose_passes_the_settings_that_the_native_stack_passes(
    service: str, context: Context
) -> None:
    only_in_containers = f"HEADRACE_{PROCESSES[service].prefix}_ALLOW_REMOTE"

    assert set(_interpolated(service)) - {only_in_containers} == set(
        own_environment(service, context)
    )


def test_provisioning_takes_all_that_compose_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = _interpolated("provision")
    _only(monkeypatch, environment)

    settings = provision.Settings()

    assert len(type(settings).model_fields) == len(environment)
    assert set(settings.passwords()) == set(Credentials().roles)


@pytest.mark.parametrize("service", PLATFORM)
def test_each_process_listens_where_the_native_stack_has_it(service: str) -> None:
    port = str(DEFAULT_BASE + OFFSETS[service])
    environment = _interpolated(service)

    assert port in environment.values()
    assert COMPOSE["services"][service]["healthcheck"]["test"][-1] == port


def test_every_address_names_a_process_and_its_port() -> None:
    inside = {name: DEFAULT_BASE + offset for name, offset in OFFSETS.items()}
    for service in COMPOSE["services"]:
        for name, value in _interpolated(service).items():
            if name.endswith(("_URL", "_ENDPOINT")):
                address = urlsplit(value)

                assert inside[str(address.hostname)] == address.port, f"{service}: {name}"


def test_the_front_door_finds_the_ports_of_the_native_stack() -> None:
    expected = front_environment(Ports(DEFAULT_BASE))
    environment = _interpolated("front")

    assert set(environment) == set(expected)
    for name in expected.keys() - {"HEADRACE_FRONT_HOST"}:
        assert environment[name].rpartition(":")[2] == expected[name].rpartition(":")[2]


def test_only_loopback_is_published_and_on_the_port_of_the_native_stack() -> None:
    known = {DEFAULT_BASE + offset for offset in OFFSETS.values()}
    for service in COMPOSE["services"].values():
        for published in service.get("ports", []):
            host, outside, inside = published.split(":")

            assert host == "127.0.0.1"
            assert outside == inside
            assert int(outside) in known


def test_no_secret_has_a_default() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)(:?[-?]?)", TEXT)

    assert secrets
    assert {kind for _, kind in secrets} == {":?"}


def test_the_secrets_file_has_all_that_compose_asks_for_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose_env, "ENV_FILE", tmp_path / ".env")

    assert compose_env.main() == 0
    assert compose_env.main() == 1

    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert sorted(written) == compose_env.required(TEXT)
    assert len(set(written.values())) == len(written)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_everything_waits_for_what_it_needs_and_tells_when_it_is_ready() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for {needed}"

    assert all("healthcheck" in services[name] for name in services if name != "provision")
    assert set(services["provision"]["depends_on"]) == {"kafka", "postgres", "s3"}


def test_every_volume_is_declared_or_a_file_of_the_repository() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]

            assert source in COMPOSE["volumes"] or (compose_env.COMPOSE.parent / source).is_file()


def test_kafka_has_the_settings_of_the_native_stack() -> None:
    environment = _interpolated("kafka")
    own = {"listeners", "advertised.listeners", "listener.security.protocol.map", "log.dir"}
    native = dict(line.split("=", 1) for line in PROPERTIES.splitlines())
    port = DEFAULT_BASE + OFFSETS["kafka-controller"]

    for name in native.keys() - own:
        value = native[name].format(controller=port)
        assert environment[f"KAFKA_{name.upper().replace('.', '_')}"] == value
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{VERSION}"


def test_postgres_has_the_settings_of_the_native_stack() -> None:
    command = COMPOSE["services"]["postgres"]["command"]
    flags = dict(part.split("=") for part in command[2::2])
    in_containers = {"listen_addresses", "unix_socket_directories"}

    assert flags == {name: SETTINGS[name] for name in SETTINGS.keys() - in_containers}
    assert COMPOSE["services"]["postgres"]["image"] == "postgres:18"


def test_s3_has_the_settings_of_the_native_stack(tmp_path: Path) -> None:
    native = s3_spec(
        directory=tmp_path,
        sockets=tmp_path,
        ports=Ports(DEFAULT_BASE),
        credentials=Credentials(),
        env={},
    )
    own = {"-dir", "-ip", "-ip.bind", "-s3.localSocket", "-filer.localSocket"}

    def flags(arguments: list[str]) -> dict[str, str]:
        pairs = dict(argument.split("=", 1) for argument in arguments)
        return {name: pairs[name] for name in pairs.keys() - own}

    assert flags(COMPOSE["services"]["s3"]["command"][1:]) == flags(list(native.argv[2:]))
    assert _interpolated("s3").keys() == native.env.keys()


def test_the_image_holds_only_locked_packages() -> None:
    locked = set((CHECKOUT / "requirements.lock").read_text().splitlines())
    image = [
        line
        for line in (CHECKOUT / "requirements-services.lock").read_text().splitlines()
        if "==" in line
    ]

    assert image
    assert [line for line in image if line not in locked] == []


def test_the_image_copies_files_that_exist_and_that_the_build_context_lets_in() -> None:
    dockerfile = (CHECKOUT / "deploy" / "Dockerfile").read_text()
    allowed = {
        line.removeprefix("!")
        for line in (CHECKOUT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, flags=re.MULTILINE)
        for source in line.split()[:-1]
    }

    assert copied == allowed
    assert all((CHECKOUT / source).exists() for source in copied)


def _only(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith("HEADRACE_"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
