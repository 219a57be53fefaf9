"""What a step may touch: Linux Landlock, without root, enforced by the kernel.

Reading is allowed beneath a list of paths, writing beneath the scratch directory and /dev/null;
everything the step starts inherits that. Where the kernel has no Landlock, a Python audit hook
refuses what Python itself opens and the start of other programs; libraries that open files by
themselves are then not held back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.confinement.landlock import landlock_version, restrict

_ETC_PATHS: Final = tuple(
    f"/etc/{name}"
    for name in (
        "apache/mime.types",
        "apache2/mime.types",
        "ca-certificates",
        "crypto-policies/back-ends",
        "fonts",
        "gai.conf",
        "group",
        "host.conf",
        "hostname",
        "hosts",
        "httpd/conf/mime.types",
        "httpd/mime.types",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "ld.so.preload",
        "locale.alias",
        "localtime",
        "mime.types",
        "nsswitch.conf",
        "os-release",
        "passwd",
        "pki/ca-trust",
        "pki/tls/cert.pem",
        "pki/tls/certs",
        "pki/tls/openssl.cnf",
        "protocols",
        "resolv.conf",
        "services",
        "ssl/cert.pem",
        "ssl/certs",
        "ssl/openssl.cnf",
        "timezone",
    )
)
"""What libraries read at start or to reach a host; never passwords or keys, also for root."""

SYSTEM_PATHS: Final = (
    "/bin",
    "/dev",
    *_ETC_PATHS,
    "/lib",
    "/lib64",
    "/opt",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys",
    "/proc/uptime",
    "/proc/version",
    "/run/systemd/resolve",
    "/sbin",
    "/sys",
    "/usr",
)
"""Of /proc only the process's own part: other processes' environments hold their secrets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """What is allowed: `readable` files and directories, `writable` directories."""

    readable: Sequence[Path]
    writable: Sequence[Path]


def enter(sandbox: Sandbox) -> str:
    """Restrict this process for good; returns what enforces it, as text for people."""
    version = landlock_version()
    if version >= 1:
        restrict(
            readable=sandbox.readable, writable=sandbox.writable, network=True, version=version
        )
        return f"landlock abi {version}"
    _add_audit_hook(sandbox)
    return "python audit hook (this kernel has no Landlock: libraries are not held back)"


def interpreter_paths() -> list[Path]:
    """What Python itself needs to read: installation, virtual environment, system libraries."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    executable = Path(sys.executable)
    paths = {Path(prefix) for prefix in prefixes} | {executable.parent, executable.resolve().parent}
    return sorted(paths | {Path(path) for path in SYSTEM_PATHS})


def package_paths(modules: Iterable[str]) -> list[Path]:
    """Where the top-level packages of loaded modules lie; a plain module is its one file."""
    paths: set[Path] = set()
    for name in modules:
        module = sys.modules[name.partition(".")[0]]
        beneath = getattr(module, "__path__", None)
        if beneath is not None:
            paths.update(Path(entry) for entry in beneath)
        elif module.__file__:
            paths.add(Path(module.__file__))
    return sorted(paths)


_STARTS_PROGRAMS: Final = frozenset(
    {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "pty.spawn"}
)


def _add_audit_hook(sandbox: Sandbox) -> None:
    readable = tuple(os.path.realpath(path) for path in (*sandbox.readable, *sandbox.writable))
    writable = (*(os.path.realpath(path) for path in sandbox.writable), os.devnull)

    def check(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STARTS_PROGRAMS:
            raise PermissionError(f"the step sandbox refuses {event}")
        if event == "open":
            path, mode, flags = (*arguments, None, None)[:3]
            if isinstance(path, (str, bytes, os.PathLike)):
                writes = _writes(mode, flags)
                _refuse_outside(os.fsdecode(path), writable if writes else readable)
        elif event in {"os.listdir", "os.scandir"} and isinstance(arguments[0], (str, bytes)):
            _refuse_outside(os.fsdecode(arguments[0]), readable)

    sys.addaudithook(check)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str) and set(mode) & set("wax+"):
        return True
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _refuse_outside(path: str, allowed: Sequence[str]) -> None:
    real = os.path.realpath(path)
    if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in allowed):
        raise PermissionError(f"the step sandbox refuses {path}")
