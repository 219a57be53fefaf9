"""Values of W&B: JSON, nested under names that are joined by dots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from headrace.rpc.imports.v1.wandb_run_pb2 import Item


def name_of(item: Item) -> str:
    """The name of an item, `outer.inner` if it is nested."""
    return ".".join(item.nested_key) if item.nested_key else item.key


def numbers(item: Item) -> Iterator[tuple[str, float]]:
    """The numbers of an item by name: one, several if it is an object, none if it is no number."""
    try:
        yield name_of(item), float(item.value_json)
    except ValueError:
        for name, leaf in _leaves(name_of(item), _decoded(item.value_json)):
            if isinstance(leaf, (int, float)):
                yield name, float(leaf)


def texts(items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    """The values of items by name: strings as they are, what is no object as JSON."""
    for item in items:
        for name, leaf in _leaves(name_of(item), _decoded(item.value_json)):
            yield name, leaf if isinstance(leaf, str) else json.dumps(leaf)


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """What is in an object, by name; media, which have a `_type`, are one leaf."""
    if not isinstance(value, dict) or "_type" in value or not value:
        yield name, value
        return
    for inner, member in value.items():
        yield from _leaves(f"{name}.{inner}", member)


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
