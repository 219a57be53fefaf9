"""Signatures hold for exactly what was signed, by exactly who is trusted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput, Refused
from headrace.signing import (
    SIGNATURE_FILE,
    SigningKey,
    TrustedKeys,
    sign,
    sign_folder,
    verify,
    verify_folder,
)
from tests.harness.signing_keys import Keys, make_keys

FILES = {"MLmodel": "a" * 64, "model.pkl": "b" * 64, "code/own.py": "c" * 64}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"), "release")


def changed(bundle: bytes, **fields: Any) -> bytes:
    """With another statement under the same signature."""
    document = json.loads(bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    statement.update(fields)
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    document["dsseEnvelope"]["payload"] = payload
    return json.dumps(document).encode()


def test_what_was_signed_is_verified_and_names_the_key(keys: Keys) -> None:
    bundle = sign(FILES, name="model", key=keys.private)
    assert verify(bundle, FILES, keys=keys.trusted) == "release"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({**FILES, "model.pkl": "d" * 64}, "differ from what was signed: model.pkl"),
        ({**FILES, "extra.so": "d" * 64}, "not signed: extra.so"),
        ({"MLmodel": "a" * 64, "model.pkl": "b" * 64}, "missing: code/own.py"),
    ],
    ids=["changed", "extra", "missing"],
)
def test_other_files_than_the_signed_ones_are_refused(
    keys: Keys, files: dict[str, str], reason: str
) -> None:
    bundle = sign(FILES, name="model", key=keys.private)
    with pytest.raises(Refused, match=reason):
        verify(bundle, files, keys=keys.trusted)


def test_a_key_that_is_not_trusted_is_refused_by_name(keys: Keys, tmp_path: Path) -> None:
    other = make_keys(tmp_path, "stranger")
    bundle = sign(FILES, name="model", key=other.private)
    with pytest.raises(Refused, match=r"unknown key .*trusted are: release"):
        verify(bundle, FILES, keys=keys.trusted)
    with pytest.raises(Refused, match="trusted are: none"):
        verify(bundle, FILES, keys=TrustedKeys.load(None))


def test_a_statement_put_under_anothers_signature_is_refused(keys: Keys) -> None:
    bundle = changed(sign(FILES, name="model", key=keys.private), subject=[])
    with pytest.raises(Refused, match="did not sign this statement"):
        verify(bundle, FILES, keys=keys.trusted)


def test_a_signature_by_another_key_under_a_trusted_name_is_refused(
    keys: Keys, tmp_path: Path
) -> None:
    other = make_keys(tmp_path, "stranger")
    document = json.loads(sign(FILES, name="model", key=other.private))
    document["verificationMaterial"]["publicKey"]["hint"] = keys.private.hint
    with pytest.raises(Refused, match="did not sign this statement"):
        verify(json.dumps(document).encode(), FILES, keys=keys.trusted)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_bundle_are_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="no Sigstore bundle"):
        verify(data, FILES, keys=TrustedKeys.load(None))


def test_a_folder_is_signed_and_verified(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "model.pkl").write_bytes(b"model")
    (tmp_path / "code" / "own.py").write_bytes(b"")
    with pytest.raises(Refused, match=f"there is no {SIGNATURE_FILE}"):
        verify_folder(tmp_path, keys.trusted)
    sign_folder(tmp_path, keys.private)
    assert verify_folder(tmp_path, keys.trusted) == "release"
    (tmp_path / "model.pkl").write_bytes(b"other")
    with pytest.raises(Refused, match=r"differ from what was signed: model\.pkl"):
        verify_folder(tmp_path, keys.trusted)


def test_links_cannot_be_signed(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="a symbolic link cannot be signed"):
        sign_folder(tmp_path, keys.private)


def test_a_key_that_cannot_be_used_is_named(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(InvalidInput, match=r"bad\.pem: not a public key"):
        TrustedKeys.load(tmp_path)
    with pytest.raises(InvalidInput, match="not a private key"):
        SigningKey.load(keys.public_file)
    weak = make_keys(tmp_path, "koblitz", curve=ec.SECP256K1())
    with pytest.raises(InvalidInput, match="expected a key on one of secp256r1"):
        SigningKey.load(weak.private_file)
