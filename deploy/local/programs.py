"""Programs that come in wheels."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deploy.local.errors import StackError


def wheel_program(package: str, program: str) -> str:
    """Path of a program that an installed wheel brought."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise StackError(f"the {package} wheel is not installed; run `make setup`") from None
    for file in files:
        if file.name == program and file.parent.name == "bin":
            return str(Path(file.locate()).resolve())
    raise StackError(f"the {package} wheel has no program {program}")
