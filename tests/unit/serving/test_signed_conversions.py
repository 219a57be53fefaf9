"""Where everything must be signed, a conversion too is served only with a signature over it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from headrace.errors import Refused
from headrace.events import FileRef
from headrace.signing import sign_folder
from services.serving.control.signatures import Signatures
from services.serving.domain.conversions import Conversion, conversion_of
from services.serving.domain.trust import SignaturePolicy
from tests.harness.signing_keys import Keys, make_keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path, "release")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "version"
    for name in ("MLmodel", "model.skops", "onnx/model.onnx", "onnx/parity.json"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    return made


def _files(folder: Path) -> list[FileRef]:
    return [
        FileRef(
            path=path.relative_to(folder).as_posix(),
            uri="s3://b/k",
            digest=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            size=path.stat().st_size,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


async def _signed_by(conversion: Conversion | None, folder: Path, keys: Keys) -> str | None:
    assert conversion is not None
    held = Signatures(policy=SignaturePolicy.ALL, trusted_keys=keys.folder)
    return await held.check(conversion.chosen, folder)


async def test_signature_over_the_folder_covers_the_conversion_in_it(
    folder: Path, keys: Keys
) -> None:
    sign_folder(folder, keys.private)
    assert await _signed_by(conversion_of(_files(folder), []), folder, keys) is not None


async def test_conversion_that_came_after_the_signature_is_refused(
    folder: Path, keys: Keys
) -> None:
    sign_folder(folder, keys.private)
    (folder / "onnx/model.onnx").write_text("another")
    with pytest.raises(Refused, match=r"files differ from what was signed: onnx/model\.onnx"):
        await _signed_by(conversion_of(_files(folder), []), folder, keys)


async def test_derived_conversion_has_no_signature(folder: Path, keys: Keys) -> None:
    sign_folder(folder, keys.private)
    derived = [file for file in _files(folder) if file.path.startswith("onnx/")]
    own = [file for file in _files(folder) if file not in derived]
    with pytest.raises(Refused, match="must be signed by a trusted key"):
        await _signed_by(conversion_of(own, derived), folder, keys)
