"""The RunManifest: everything that is needed to make a model again, as one canonical document.

Same content, same bytes, same digest. It says nothing about times and attempts, which do not
decide what comes out.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from headrace.pipelines.context import RunFacts, seed_for

FORMAT: Final = "headrace.run-manifest.v1"
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def build(run: RunFacts, *, datasets: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The manifest of a run; `datasets` are those read since the run's facts were written."""
    document = {
        "format": FORMAT,
        "pipeline_run_id": run.run_id,
        "pipeline": run.pipeline,
        "plan_digest": run.plan_digest,
        "project": run.project,
        "model": run.model,
        "requested_by": run.requested_by,
        "parameters": dict(run.parameters),
        "seed": run.seed,
        "step_seeds": {step: seed_for(run.seed, step) for step in run.steps},
        "trigger": dict(run.trigger),
        "datasets": _each_once([*run.datasets, *datasets]),
        "environments": _each_once(run.environments),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def digest_of(manifest: bytes) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def environment(checkout: Path | None = None) -> dict[str, Any]:
    """What this interpreter is: code, lock, packages, interpreter, hardware. Takes 0.1-0.5 s.

    `checkout` is where the code lies; found from this file if not given. Outside of a git
    checkout the code is known by the versions of its packages alone.
    """
    root = checkout or _root()
    lock = root / "requirements.lock"
    return {
        "code": code_identity(root),
        "lock_digest": digest_of(lock.read_bytes()) if lock.is_file() else None,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "container": Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ},
        "packages": _packages(),
    }


def code_identity(root: Path) -> dict[str, Any]:
    """Git commit and a digest of what differs from it, untracked files included; or nothing."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "diff_digest": None}
    diff = _git(root, "diff", "HEAD", "--binary") or b""
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z") or b""
    digest = hashlib.sha256(diff)
    for name in sorted(filter(None, untracked.split(b"\0"))):
        path = root / os.fsdecode(name)
        if path.is_file():
            digest.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    dirty = bool(diff or untracked)
    return {
        "commit": commit.decode().strip(),
        "dirty": dirty,
        "diff_digest": f"sha256:{digest.hexdigest()}" if dirty else None,
    }


def _each_once(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_text = {json.dumps(entry, sort_keys=True): dict(entry) for entry in documents}
    return [by_text[text] for text in sorted(by_text)]


def _root() -> Path:
    return Path(__file__).resolve().parents[3]


def _git(root: Path, *arguments: str) -> bytes | None:
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _packages() -> dict[str, str]:
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[name.lower()] = distribution.version
    return dict(sorted(found.items()))


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
