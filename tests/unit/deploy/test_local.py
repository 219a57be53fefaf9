"""The parts of the native stack that need no server."""

import base64
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import StackError, account, kafka, ports
from deploy.local.backends import Backends
from deploy.local.credentials import ROLES, Credentials
from deploy.local.java import machine_java
from deploy.local.options import CHECKOUT, SERVICES, StackOptions, asked_for
from deploy.local.ports import BLOCK, DEFAULT_BASE, GRPC_SHIFT, OFFSETS, Ports
from deploy.local.processes import Context, own_environment


def test_ports_do_not_overlap_and_stay_in_their_block() -> None:
    assert len(set(OFFSETS.values())) == len(OFFSETS)
    assert max(OFFSETS.values()) < BLOCK


def test_free_ports_stay_below_the_ephemeral_range_with_the_shift_of_seaweedfs() -> None:
    assert ports.FREE_RANGE.start >= 10000
    assert ports.FREE_RANGE[-1] + BLOCK <= 22767
    assert ports.FREE_RANGE[-1] + BLOCK + GRPC_SHIFT <= 32768


def test_the_base_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_PORT_BASE", raising=False)
    assert ports.configured_base() == DEFAULT_BASE

    monkeypatch.setenv("HEADRACE_PORT_BASE", "20000")
    assert ports.configured_base() == 20000


@pytest.mark.parametrize("base", ["", "many", "-1", "80", "60000"])
def test_a_useless_base_is_refused_by_name(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PORT_BASE", base)

    with pytest.raises(StackError, match="HEADRACE_PORT_BASE"):
        Ports(ports.configured_base())


def test_two_blocks_taken_at_the_same_time_differ() -> None:
    with ports.free_block() as one, ports.free_block() as other:
        assert abs(one.base - other.base) >= BLOCK


def test_a_block_with_a_taken_port_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.free_block() as block:
        base = block.base
    monkeypatch.setattr(ports, "FREE_RANGE", range(base, base + BLOCK, BLOCK))
    taken = base + OFFSETS["postgres"]
    with (
        socket.create_server(("127.0.0.1", taken)),
        pytest.raises(StackError, match="no block"),
        ports.free_block(),
    ):
        pass


def test_credentials_are_private_differ_between_directories_and_stay(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    first = Credentials.of(one)

    assert Credentials.of(one) == first
    assert Credentials.of(other) != first
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert len({first.postgres, first.s3_secret_key, *first.roles.values()}) == len(ROLES) + 2


def test_secrets_are_not_in_what_is_printed() -> None:
    credentials = Credentials()
    backends = Backends.of(Ports(DEFAULT_BASE), credentials)

    for secret in (credentials.postgres, credentials.s3_secret_key, *credentials.roles.values()):
        assert secret not in repr(credentials)
        assert secret not in repr(backends)


def test_backends_pass_through_json_unchanged() -> None:
    backends = Backends.of(Ports(DEFAULT_BASE), Credentials())

    assert Backends.from_json(backends.to_json()) == backends


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5))
def test_a_cluster_id_never_begins_with_a_dash(drawn: list[bytes]) -> None:
    # 0xf8 is the first byte whose base64 begins with "-".
    randomness = [b"\xf8" + bytes(15), *drawn, bytes(16)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", lambda _: randomness.pop(0))
        cluster_id = kafka.new_cluster_id()

    assert not cluster_id.startswith("-")
    assert len(base64.urlsafe_b64decode(cluster_id + "==")) == 16


def test_a_jar_that_is_not_the_committed_one_is_refused(tmp_path: Path) -> None:
    for line in kafka.CHECKSUMS.read_text().splitlines():
        (tmp_path / line.split()[1]).write_bytes(b"something else")

    with pytest.raises(StackError, match="kafka-clients"):
        kafka.verify_jars(tmp_path)


def test_a_directory_below_a_closed_one_is_not_reachable(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)

    assert not account.reachable(closed / "inside" / "file")
    assert account.reachable(Path("/usr/file"))


def test_a_copy_is_made_once_and_whole(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("one")
    target = account.copy_once(tmp_path / "source", tmp_path / "target")
    (tmp_path / "source" / "file").write_text("two")

    assert account.copy_once(tmp_path / "source", tmp_path / "target") == target
    assert (target / "file").read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def _java(directory: Path, version: str) -> Path:
    (directory / "bin").mkdir(parents=True)
    (directory / "release").write_text(f'JAVA_VERSION="{version}"\n')
    java = directory / "bin" / "java"
    java.touch(mode=0o755)
    return java


def test_an_old_java_of_the_machine_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _java(tmp_path / "old", "11.0.2")
    new = _java(tmp_path / "new", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(new.parent))

    assert machine_java() == str(new)

    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_java() is None


def test_make_help_explains_every_command_of_the_readme() -> None:
    printed = subprocess.run(
        ["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout

    for command in ("setup", "up", "down", "demo", "test", "lint", "bench", "proto", "docs"):
        assert f"{command} " in printed


def test_set_up_says_in_one_line_that_python_is_missing(tmp_path: Path) -> None:
    for tool in ("dirname", "sh"):
        (tmp_path / tool).symlink_to(Path("/bin") / tool)
    env = {**os.environ, "PATH": str(tmp_path)}
    env.pop("PYTHON", None)

    done = subprocess.run(
        [CHECKOUT / "deploy" / "setup.sh"], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "no Python 3.11 or newer found" in done.stderr
    assert done.stderr.count("\n") == 1


def test_exporters_run_where_a_person_says_what_to_export(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_URL", "FILES"):
        monkeypatch.delenv(f"HEADRACE_SERVING_EXPORT_{name}", raising=False)
    assert asked_for() == SERVICES

    monkeypatch.setenv("HEADRACE_SERVING_EXPORT_FILES", "parquet")
    assert asked_for() == (*SERVICES, "serving-exporters")


def test_a_process_takes_the_settings_of_its_service_but_those_of_the_stack(
    tmp_path: Path,
) -> None:
    ports = Ports(DEFAULT_BASE)
    theirs = {"FRONT": "grpcio", "GRPC_PORT": "1"}
    settings = {f"HEADRACE_SERVING_{name}": value for name, value in theirs.items()}
    context = Context(
        ports=ports,
        backends=Backends.of(ports, Credentials()),
        directory=tmp_path,
        sockets=tmp_path,
        options=StackOptions(settings=settings),
    )
    taken = own_environment("serving-worker", context)

    assert taken["HEADRACE_SERVING_FRONT"] == "grpcio"
    assert taken["HEADRACE_SERVING_GRPC_PORT"] == str(ports["grpc"])
    assert "HEADRACE_SERVING_FRONT" not in own_environment("monitoring", context)
