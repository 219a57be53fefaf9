"""`headrace models`: what is registered; converting, signing and replaying models."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from headrace.cli.session import REFUSED, Session, fail
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.conversion import ParityReport

app = App(name="models", help="Registered models; converting models to ONNX, and signing.")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON")]
_PASSWORD: Final = "HEADRACE_SIGNING_PASSWORD"  # noqa: S105 - the name of a variable


@app.default
def listed(
    *,
    url: Annotated[
        str | None, Parameter(help="Front door; else HEADRACE_URL, else the local stack")
    ] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON")] = False,
) -> None:
    """Registered models and their champions."""
    session = Session.of(url, as_json=as_json)
    found = session.call("GET", "/api/registry/v1/models")["models"]
    session.show(found, ("name", "champion", "latest_version"))


@app.command
def convert(
    model: Path,
    *,
    rows: Annotated[
        Path | None, Parameter(help="Recorded inputs to compare on, .csv or .parquet")
    ] = None,
    seed: Annotated[int, Parameter(help="Of the sampled inputs")] = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON")] = False,
) -> None:
    """Convert an MLflow model folder, or one .skops/.pkl/.joblib file, to ONNX beside it.

    Exit code 1 when the model stays native, since it answers otherwise or cannot be converted.
    """
    from headrace.conversion import convert as convert_model  # noqa: PLC0415 - needs an extra

    try:
        report = convert_model(model, rows=rows, seed=seed)
    except HeadraceError as error:
        fail(str(error), code=REFUSED)
    text = report.model_dump_json() if as_json else _told(report)
    print(text)  # noqa: T201 - this is the output
    raise SystemExit(0 if report.holds else REFUSED)


@app.command
def sign(
    folder: Path,
    *,
    key: Annotated[Path, Parameter(help="Private key, EC P-256, PEM")],
    as_json: Json = False,
) -> None:
    """Write model.sig: an OpenSSF Model Signing bundle over every file of a model folder.

    Log the folder with it and register that. HEADRACE_SIGNING_PASSWORD opens an encrypted key.
    """
    from headrace import signing  # noqa: PLC0415 - needs the signing extra

    password = os.environ.get(_PASSWORD)
    try:
        loaded = signing.SigningKey.load(key, password=password.encode() if password else None)
        signature = signing.sign_folder(folder, loaded)
    except HeadraceError as error:
        fail(str(error), code=REFUSED)
    session = Session.of(None, as_json=as_json)
    session.say({"signature": str(signature), "key": loaded.hint}, f"signed: {signature}")


@app.command
def verify(
    folder: Path,
    *,
    keys: Annotated[Path, Parameter(help="A public key in PEM, or a folder of *.pem")],
    as_json: Json = False,
) -> None:
    """Check that a trusted key signed exactly the files of a model folder; exit code 1 if not."""
    from headrace import signing  # noqa: PLC0415 - needs the signing extra

    try:
        name = signing.verify_folder(folder, signing.TrustedKeys.load(keys))
    except HeadraceError as error:
        fail(str(error), code=REFUSED)
    Session.of(None, as_json=as_json).say({"signed_by": name}, f"{folder}: signed by {name}")


@app.command
def replay(
    folder: Path,
    *,
    offset: Annotated[
        int | None, Parameter(help="Label to stop after; else all that the snapshot learned")
    ] = None,
    partition: Annotated[int, Parameter(help="Of that label")] = 0,
    as_json: Json = False,
) -> None:
    """Learn again what a learner's snapshot learned; exit code 1 if it comes out otherwise.

    The folder holds all files of the version.
    """
    from headrace.learning.replay import Position  # noqa: PLC0415
    from headrace.learning.replay import replay as replayed  # noqa: PLC0415 - needs an extra

    to = None if offset is None else Position(partition=partition, offset=offset)
    try:
        found = replayed(folder, to=to)
    except HeadraceError as error:
        fail(str(error), code=REFUSED)
    told = f"{found.digest} after {found.learned} examples"
    if not found.holds:
        told += f", the snapshot says {found.expected}, by river {found.recorded_river}"
    session = Session.of(None, as_json=as_json)
    session.say({**asdict(found), "holds": found.holds}, told)
    raise SystemExit(0 if found.holds else REFUSED)


def _told(report: ParityReport) -> str:
    count = report.recorded_rows + report.sampled_rows
    if not report.holds:
        return f"stays native: {report.reason}"
    return (
        f"onnx/model.onnx answers alike on {count} rows (largest difference {report.largest:.2g})"
    )
