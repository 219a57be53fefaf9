"""Which conversion may answer for a model, and which versions are worth one."""

from __future__ import annotations

import pytest

from headrace.conversion import OutputParity, ParityReport
from headrace.errors import Refused
from headrace.events import FileRef
from services.serving.domain.conversions import (
    Conversion,
    check_report,
    conversion_of,
    native,
    worth_converting,
)
from services.serving.domain.formats import Format

DIGITS = {"MLmodel": "1", "model.pkl": "2", "onnx/model.onnx": "3", "onnx/parity.json": "4"}
REPORT = ParityReport(
    holds=True,
    outputs=[OutputParity(name="predict_proba", kind="number", max_difference=3e-7, different=0)],
    sources={"MLmodel": "sha256:" + "1" * 64, "model.pkl": "sha256:" + "2" * 64},
    onnx_digest="sha256:" + "3" * 64,
)


def _files(*paths: str, below: str = "") -> list[FileRef]:
    return [
        FileRef(
            path=below + path,
            uri=f"s3://b/{path}",
            digest="sha256:" + DIGITS.get(path, "0") * 64,
            size=1,
        )
        for path in paths
    ]


REGISTERED = _files(*DIGITS)
OWN = _files("MLmodel", "model.pkl")
DERIVED = _files("onnx/model.onnx", "onnx/parity.json")


def _conversion(files: list[FileRef], converted: list[FileRef]) -> Conversion:
    found = conversion_of(files, converted)
    assert found is not None
    return found


def _check(report: ParityReport, files: list[FileRef] = REGISTERED) -> None:
    check_report(
        report.model_dump_json().encode(),
        conversion=_conversion(files, []),
        model=native(files),
    )


def test_conversion_within_a_version_takes_along_what_may_have_been_signed_with_it() -> None:
    found = _conversion(REGISTERED, [])
    assert (found.chosen.format, found.chosen.model.path) == (Format.ONNX, "onnx/model.onnx")
    assert {file.path for file in found.chosen.needed} == set(DIGITS)


def test_derived_conversion_needs_nothing_of_the_version() -> None:
    found = _conversion(OWN, DERIVED)
    assert found.chosen.needed == tuple(DERIVED)
    assert native(OWN).format is Format.MLFLOW


def test_model_itself_is_found_beside_its_conversion() -> None:
    model = native(REGISTERED)
    assert (model.format, model.model.path) == (Format.MLFLOW, "MLmodel")
    assert {file.path for file in model.needed} == set(DIGITS)


def test_onnx_file_with_a_report_and_nothing_that_it_comes_from_is_a_model_like_any_other() -> None:
    assert conversion_of(DERIVED, []) is None
    assert native(DERIVED).model.path == "onnx/model.onnx"


def test_report_without_a_converted_file_changes_nothing() -> None:
    files = _files("MLmodel", "model.ubj", "onnx/parity.json")
    assert conversion_of(files, []) is None
    assert native(files).format is Format.XGBOOST


def test_report_of_exactly_these_files_is_taken() -> None:
    _check(REPORT)
    _check(REPORT, _files(*DIGITS, below="data/"))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"holds": False, "reason": "3 rows differ"}, "does not say that parity holds: 3 rows"),
        ({"tolerance": 0.1}, "does not say that parity holds"),
        ({"outputs": []}, "does not say that parity holds"),
        (
            {"outputs": [OutputParity(name="p", kind="number", max_difference=0.1, different=0)]},
            "does not say that parity holds",
        ),
        ({"onnx_digest": "sha256:" + "9" * 64}, "is of another file than onnx/model.onnx"),
        (
            {"sources": {**REPORT.sources, "model.pkl": "sha256:" + "9" * 64}},
            "is of another model.pkl than the version has",
        ),
        ({"sources": {}}, "does not say that it is of MLmodel"),
    ],
)
def test_report_that_does_not_bear_the_conversion_out_is_refused(
    changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        _check(REPORT.model_copy(update=changed))


@pytest.mark.parametrize("content", [b"", b"{}", b'{"holds": "perhaps"}', b"\xff"])
def test_what_is_no_report_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="is not a parity report"):
        check_report(content, conversion=_conversion(REGISTERED, []), model=native(REGISTERED))


@pytest.mark.parametrize(
    "paths",
    [
        ("MLmodel", "model.pkl"),
        ("MLmodel", "model.skops"),
        ("data/model/MLmodel", "data/model/model.ubj"),
        ("model.skops", "profile.json"),
        ("model.joblib",),
    ],
)
def test_versions_of_the_kinds_that_can_be_are_converted(paths: tuple[str, ...]) -> None:
    assert worth_converting(_files(*paths)) is not None


@pytest.mark.parametrize(
    "paths",
    [
        ("model.onnx",),
        ("model.ubj",),
        ("model.pt",),
        ("notes.md",),
        tuple(DIGITS),
        ("../model.skops",),
    ],
)
def test_others_are_left_as_they_are(paths: tuple[str, ...]) -> None:
    assert worth_converting(_files(*paths)) is None


@pytest.mark.parametrize("outside", ["../../", "/etc/", "in/../../"])
def test_conversions_that_lie_outside_the_version_are_refused(outside: str) -> None:
    stray = _files("onnx/model.onnx", "onnx/parity.json", below=outside)
    with pytest.raises(Refused, match="inside the version"):
        native([*OWN, *stray])
    with pytest.raises(Refused, match="inside the version"):
        conversion_of(OWN, stray)
    assert worth_converting([*OWN, *stray]) is None
