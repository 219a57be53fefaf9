"""Whole stacks of real backends: crashes, restarts, neighbours, taken ports, other users."""

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from botocore.session import get_session

from deploy.local import Backends, Stack, StackError, StackOptions
from deploy.local.identity import ProcessRecord, marked, wait_gone
from deploy.local.leftovers import sweep_temporary
from deploy.local.options import CHECKOUT
from deploy.local.ports import free_block
from deploy.local.stack import TEMPORARY_PREFIX

TOPIC = "tracking.run.events.v1"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Backends of this module alone, to be broken."""
    with Stack.temporary() as running:
        yield running


def test_a_killed_postgres_comes_back_with_what_was_committed(stack: Stack) -> None:
    _execute(stack, "create table if not exists kept (n int)", "insert into kept values (7)")

    stack.process("postgres").kill()
    stack.process("postgres").wait_restarted(30)

    assert _fetch(stack, "select n from kept") == 7


def test_a_killed_broker_comes_back_with_what_was_acknowledged(stack: Stack) -> None:
    offset = asyncio.run(_produce(stack.backends, b"kept"))

    stack.process("kafka").kill()
    stack.process("kafka").wait_restarted(60)

    assert asyncio.run(_read(stack.backends, offset)) == b"kept"


def test_a_killed_s3_comes_back_with_what_was_stored(stack: Stack) -> None:
    _s3(stack.backends).put_object(Bucket="headrace", Key="kept", Body=b"water")

    stack.process("s3").kill()
    stack.process("s3").wait_restarted(60)

    assert _object(stack, "kept") == b"water"


def test_a_paused_broker_goes_on_where_it_was(stack: Stack) -> None:
    kafka = stack.process("kafka")
    kafka.pause()
    kafka.resume()

    offset = asyncio.run(_produce(stack.backends, b"after"))

    assert asyncio.run(_read(stack.backends, offset)) == b"after"


def test_two_stacks_run_side_by_side(stack: Stack, backends: Backends) -> None:
    assert stack.backends.postgres_port != backends.postgres_port
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(asyncpg.connect(_with_port(backends.admin_url(), stack)))


def test_a_taken_port_is_named_with_its_owner(tmp_path: Path) -> None:
    with free_block() as ports, socket.create_server(("127.0.0.1", ports["kafka"])):
        stack = Stack(StackOptions(directory=tmp_path / "stack", services=()), ports)

        with pytest.raises(StackError) as caught:
            stack.start()
        stack.remove()

    message = str(caught.value)
    assert f"port {ports['kafka']} (kafka) is taken by process {os.getpid()}" in message
    assert "HEADRACE_PORT_BASE" in message
    assert "\n" not in message


def test_after_a_killed_supervisor_up_takes_over_and_down_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "stack"  # as root this is below a directory that only root may enter
    with free_block() as ports:
        command = [sys.executable, "-m", "deploy.local", f"--directory={directory}"]
        env = {**os.environ, "HEADRACE_PORT_BASE": str(ports.base)}
        stack = Stack(StackOptions(directory=directory, services=()), ports)
        first = _killed_supervisor(command, env, stack)
        _execute(stack, "create table kept (n int)", "insert into kept values (8)")
        offset = asyncio.run(_produce(stack.backends, b"kept"))
        _s3(stack.backends).put_object(Bucket="headrace", Key="kept", Body=b"water")
        assert _user(first["postgres"]) == _unprivileged_user()

        second = _killed_supervisor(command, env, stack)
        assert not any(record.alive() for record in first.values())
        assert _fetch(stack, "select n from kept") == 8
        assert asyncio.run(_read(stack.backends, offset)) == b"kept"
        assert _object(stack, "kept") == b"water"

        output = _run([*command, "down"], env)

    assert "3 left behind" in output
    assert not any(record.alive() for record in second.values())
    assert marked(stack.leftovers.stack_id) == []
    stack.remove()
    assert not directory.exists()


def _killed_supervisor(
    command: list[str], env: dict[str, str], stack: Stack
) -> dict[str, ProcessRecord]:
    """Bring backends up, kill -9 their supervisor, say what it left."""
    _run([*command, "up", "--detach", "--only=-"], env)
    supervisor = stack.leftovers.supervisor()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_gone([supervisor], seconds=5)
    left = stack.leftovers.recorded()
    assert set(left) == {"kafka", "postgres", "s3"}
    return left


def _unprivileged_user() -> int:
    return os.geteuid() or pwd.getpwnam("nobody").pw_uid


def _user(record: ProcessRecord) -> int:
    return int(psutil.Process(record.pid).uids().real)


def test_a_temporary_stack_whose_supervisor_was_killed_is_swept() -> None:
    directory = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
    (directory / "run").mkdir()
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time\ntime.sleep(600)"], start_new_session=True
    )
    record = ProcessRecord.of(orphan.pid)
    assert record is not None
    record.save(directory / "run" / "tracking.json")
    ProcessRecord(pid=os.getpid(), identity="an earlier boot").save(directory / "supervisor.json")

    sweep_temporary(TEMPORARY_PREFIX)

    assert orphan.wait(timeout=5) == -signal.SIGTERM
    assert not directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_works_as_an_ordinary_user() -> None:
    nobody = pwd.getpwnam("nobody")
    python = _python_for(nobody.pw_uid)
    if python is None:
        pytest.skip("no interpreter that an ordinary user may run has this environment's packages")
    program = (
        "import os, psutil\nfrom deploy.local import Stack\n"
        "with Stack.temporary() as s:\n"
        " print(sorted({psutil.Process(p.pid).uids().real for p in s.processes.values()}))\n"
        " s.process('postgres').kill()\n s.process('postgres').wait_restarted()\n"
        "print(os.path.exists(s.directory))"
    )

    output = _run([python, "-c", program], _python_environment(), uid=nobody.pw_uid)

    assert output.split("\n")[:2] == [f"[{nobody.pw_uid}]", "False"]


def _execute(stack: Stack, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(stack.backends.admin_url())
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def _fetch(stack: Stack, query: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(stack.backends.admin_url())
        value: object = await connection.fetchval(query)
        await connection.close()
        return value

    return asyncio.run(run())


def _with_port(url: str, stack: Stack) -> str:
    head, _, database = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{stack.backends.postgres_port}/{database}"


async def _produce(backends: Backends, value: bytes) -> int:
    producer = AIOKafkaProducer(
        bootstrap_servers=backends.kafka, enable_idempotence=True, acks="all"
    )
    await producer.start()
    try:
        sent = await producer.send_and_wait(TOPIC, value, partition=0)
    finally:
        await producer.stop()
    return int(sent.offset)


async def _read(backends: Backends, offset: int) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=backends.kafka, auto_offset_reset="none")
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, offset)
        record = await asyncio.wait_for(consumer.getone(), timeout=30)
    finally:
        await consumer.stop()
    return bytes(record.value)


def _object(stack: Stack, key: str) -> bytes:
    return bytes(_s3(stack.backends).get_object(Bucket="headrace", Key=key)["Body"].read())


def _s3(backends: Backends) -> Any:
    return get_session().create_client(
        "s3",
        endpoint_url=backends.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=backends.s3_access_key,
        aws_secret_access_key=backends.s3_secret_key,
    )


def _run(command: list[str], env: dict[str, str], *, uid: int | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=env,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _python_environment() -> dict[str, str]:
    packages = sysconfig.get_path("purelib")
    path = os.pathsep.join([packages, str(CHECKOUT), str(CHECKOUT / "shared")])
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path}


def _python_for(uid: int) -> str | None:
    """An interpreter that this user may run and that finds the packages of this one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            _run(
                [python, "-c", "import asyncpg, psutil, deploy.local"],
                _python_environment(),
                uid=uid,
            )
        except (OSError, AssertionError):
            continue
        return python
    return None
