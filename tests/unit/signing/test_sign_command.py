"""`headrace models sign` and `verify` from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.signing_keys import make_keys


def headrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli", "models", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_is_signed_and_verified_and_a_change_is_found(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, "release")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"model")
    signed = headrace("sign", str(folder), "--key", str(keys.private_file))
    assert signed.returncode == 0, signed.stderr
    verified = headrace("verify", str(folder), "--keys", str(keys.folder))
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.strip().endswith("signed by release")
    (folder / "model.pkl").write_bytes(b"other")
    refused = headrace("verify", str(folder), "--keys", str(keys.folder))
    assert refused.returncode == 1
    assert "files differ from what was signed: model.pkl" in refused.stderr
