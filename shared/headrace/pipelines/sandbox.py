"""What a step may touch: Linux Landlock, without root, enforced by the kernel.

Reading is allowed beneath a list of paths, writing beneath the scratch directory and /dev/null;
everything the step starts inherits that. Where the kernel has no Landlock, a Python audit hook
refuses what Python itself opens and the start of other programs; libraries that open files by
themselves are then not held back.

Source: linux/landlock.h; docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_ALL_ABI_1: Final = (1 << 13) - 1
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READING: Final = _EXECUTE | _READ_FILE | _READ_DIR
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11

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
        _restrict(sandbox, version)
        return f"landlock abi {version}"
    _add_audit_hook(sandbox)
    return "python audit hook (this kernel has no Landlock: libraries are not held back)"


def landlock_version() -> int:
    """ABI version of the kernel's Landlock; 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    version: int = _libc().syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, version)


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


def _restrict(sandbox: Sandbox, version: int) -> None:
    handled = _ALL_ABI_1
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    handled |= _IOCTL_DEV if version >= 5 else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", handled, 0, scoped)  # files, network, scopes
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path in sandbox.readable:
            _allow(ruleset, path, _READING & handled)
        for path in sandbox.writable:
            _allow(ruleset, path, handled)
        _allow(ruleset, Path(os.devnull), (_WRITE_FILE | _READ_FILE | _TRUNCATE) & handled)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = access if path.is_dir() else access & _OF_FILES
        rule = struct.pack("=Qi", allowed, descriptor)
        _call(_ADD_RULE, ctypes.c_int(ruleset), _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock system call {number}: {os.strerror(code)}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


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
