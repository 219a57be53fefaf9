"""Which type fits which: the schema of a pipeline is the annotations of its steps."""

from __future__ import annotations

import types
import typing
from typing import Any, Final

_WIDENS: Final = {(float, int), (complex, int), (complex, float)}


def accepts(expected: Any, given: Any) -> bool:
    """Whether a value annotated `given` may be passed where `expected` is asked for."""
    if expected is Any or given is Any or expected == given:
        return True
    if _is_union(given):
        return all(accepts(expected, member) for member in typing.get_args(given))
    if _is_union(expected):
        return any(accepts(member, given) for member in typing.get_args(expected))
    expected_origin = typing.get_origin(expected) or expected
    given_origin = typing.get_origin(given) or given
    if typing.Literal in (expected_origin, given_origin):
        return _accepts_literal(expected, given)
    if not _class_accepts(expected_origin, given_origin):
        return False
    return _arguments_accept(typing.get_args(expected), typing.get_args(given))


def accepts_value(expected: Any, value: object) -> bool:
    """Whether a literal value fits an annotation; containers are looked at from outside only."""
    if typing.get_origin(expected) is typing.Literal:
        return value in typing.get_args(expected)
    if _is_union(expected):
        return any(accepts_value(member, value) for member in typing.get_args(expected))
    if expected is None or expected is type(None):
        return value is None
    if expected in (int, float) and isinstance(value, bool):
        return False
    return accepts(typing.get_origin(expected) or expected, type(value))


def type_name(annotation: Any) -> str:
    """How a person would write the annotation."""
    if annotation is None or annotation is type(None):
        return "None"
    if _is_union(annotation):
        return " | ".join(type_name(member) for member in typing.get_args(annotation))
    if typing.get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "")
    if isinstance(annotation, type):
        module = annotation.__module__
        return (
            annotation.__qualname__
            if module == "builtins"
            else f"{module}.{annotation.__qualname__}"
        )
    return str(annotation).replace("typing.", "")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _accepts_literal(expected: Any, given: Any) -> bool:
    if typing.get_origin(given) is typing.Literal:
        return all(accepts_value(expected, value) for value in typing.get_args(given))
    return False


def _class_accepts(expected: Any, given: Any) -> bool:
    if (expected, given) in _WIDENS:
        return True
    if isinstance(expected, type) and isinstance(given, type):
        return issubclass(given, expected)
    return bool(expected == given)


def _arguments_accept(expected: tuple[Any, ...], given: tuple[Any, ...]) -> bool:
    if not expected or not given:
        return True
    if len(expected) != len(given):
        return False
    return all(accepts(wanted, got) for wanted, got in zip(expected, given, strict=True))
