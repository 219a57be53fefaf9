"""The unmodified `model_signing` command accepts our signatures, and we accept its."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import Refused
from headrace.signing import SIGNATURE_FILE, sign_folder, verify_folder
from tests.harness.signing_keys import Keys, make_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With names whose order differs as text and as paths."""
    for name in ("a/z.bin", "a.txt", "a-b/c.bin", "MLmodel"):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "model"


def model_signing(verb: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", verb, "key", *options]
    signature = str(folder / SIGNATURE_FILE)
    return subprocess.run(
        [*command, "--signature", signature, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_command_verifies_what_we_signed(keys: Keys, folder: Path) -> None:
    sign_folder(folder, keys.private)
    options = ("--public_key", str(keys.public_file))
    verified = model_signing("verify", folder, *options)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (folder / "a.txt").write_text("changed")
    refused = model_signing("verify", folder, *options)
    assert refused.returncode != 0
    assert "a.txt" in refused.stdout + refused.stderr


def test_we_verify_what_its_command_signed(keys: Keys, folder: Path) -> None:
    signed = model_signing("sign", folder, "--private_key", str(keys.private_file))
    assert signed.returncode == 0, signed.stdout + signed.stderr
    assert verify_folder(folder, keys.trusted) == "release"
    (folder / "late.txt").write_text("late")
    with pytest.raises(Refused, match=r"not signed: late\.txt"):
        verify_folder(folder, keys.trusted)


def test_what_git_keeps_is_left_out_on_both_sides(keys: Keys, folder: Path) -> None:
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    sign_folder(folder, keys.private)
    verified = model_signing("verify", folder, "--public_key", str(keys.public_file))
    assert verified.returncode == 0, verified.stdout + verified.stderr
