"""Libraries that only some sources need: the extra `headrace[import]`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.cli.imports.sources import Unreadable


class Missing(Exception):
    """A library of the extra `headrace[import]` is not installed."""


def library(name: str) -> ModuleType:
    """A library of the extra. Raises Missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".", maxsplit=1)[0]
        raise Missing(
            f"this source needs {package}: install it with pip install 'headrace[import]'"
        ) from error


def yaml_of(file: Path) -> dict[str, Any]:
    """A YAML file that holds an object. Raises Unreadable, Missing."""
    yaml = library("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_bytes(), Loader=loader)
    except (OSError, yaml.YAMLError) as error:
        raise Unreadable(f"{file.name}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise Unreadable(f"{file.name}: expected an object, found {type(content).__name__}")
    return content
