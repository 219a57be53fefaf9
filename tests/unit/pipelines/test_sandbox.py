"""What the sandbox lets through, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.confinement.landlock import landlock_version

CHECKOUT = Path(__file__).resolve().parents[3]
PROBE = """
import json, os, subprocess, sys
from pathlib import Path
import pyarrow as pa
from headrace.pipelines import sandbox

secret, own, shown, hook = sys.argv[1:]
if hook == "yes":
    sandbox.landlock_version = lambda: 0
rules = sandbox.Sandbox(
    readable=[*sandbox.interpreter_paths(), *sandbox.package_paths(["headrace"]), Path(shown)],
    writable=[Path(own)],
)
enforced = sandbox.enter(rules)

def ends(way):
    try:
        way()
    except (OSError, subprocess.CalledProcessError) as error:
        return type(error).__name__
    return "allowed"

def cat(path):
    subprocess.run(["cat", path], check=True, capture_output=True)

print(json.dumps({
    "enforced": enforced,
    "python": ends(lambda: open(secret).read()),
    "pyarrow": ends(lambda: pa.OSFile(secret).read()),
    "cat": ends(lambda: cat(secret)),
    "list": ends(lambda: os.listdir(os.path.dirname(secret))),
    "write": ends(lambda: open(secret, "w")),
    "through a link": ends(lambda: open(os.path.join(own, "link")).read()),
    "shown": ends(lambda: open(shown).read()),
    "shown written": ends(lambda: open(shown, "w")),
    "own": ends(lambda: open(os.path.join(own, "new"), "w").write("x")),
    "shadow": ends(lambda: open("/etc/shadow").read()),
    "keys": ends(lambda: os.listdir("/etc/ssl/private")),
    "etc": ends(lambda: os.listdir("/etc")),
    "names": ends(lambda: (open("/etc/passwd").read(), open("/etc/hosts").read())),
    "types": ends(lambda: __import__("mimetypes").init()),
    "import": ends(lambda: __import__("colorsys")),
}))
"""


def probe(tmp_path: Path, *, hook: bool) -> dict[str, Any]:
    secret = tmp_path / "secret" / "file"
    own = tmp_path / "own"
    shown = tmp_path / "shown"
    secret.parent.mkdir()
    own.mkdir()
    for path in (secret, shown):
        path.write_text("content")
    (own / "link").symlink_to(secret)
    arguments = [str(secret), str(own), str(shown), "yes" if hook else "no"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT / "shared")},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
def test_the_kernel_refuses_every_way_to_what_is_not_allowed(tmp_path: Path) -> None:
    found = probe(tmp_path, hook=False)
    assert found.pop("enforced").startswith("landlock abi ")
    allowed = sorted(name for name, outcome in found.items() if outcome == "allowed")
    assert allowed == ["import", "names", "own", "shown", "types"]
    assert found["pyarrow"] == "PermissionError"
    assert found["cat"] == "CalledProcessError"


def test_without_landlock_a_hook_holds_python_back_and_says_so(tmp_path: Path) -> None:
    found = probe(tmp_path, hook=True)
    assert "libraries are not held back" in found["enforced"]
    for way in (
        "python",
        "cat",
        "list",
        "write",
        "through a link",
        "shown written",
        "shadow",
        "etc",
    ):
        assert found[way] == "PermissionError", way
    for way in ("import", "own", "shown", "names", "types"):
        assert found[way] == "allowed", way
