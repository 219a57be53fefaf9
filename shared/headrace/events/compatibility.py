"""The gate that lets contracts only grow: `python -m headrace.events.compatibility check|freeze`.

A frozen schema stands for every reader and writer already out there. A change passes if new
readers read old events and old readers read new ones; what does not pass is a new event type
(`.v2`), both emitted for one release. Needs the development dependency `jsoncompat`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import jsoncompat

from headrace.events.asyncapi import document
from headrace.events.contracts import CONTRACTS, Contract, Data, schema_of

SCHEMAS: Final = Path(str(resources.files("headrace.events"))) / "schemas"
ASYNCAPI: Final = SCHEMAS / "asyncapi.json"


def frozen_file(contract: Contract[Data]) -> Path:
    """Where the frozen schema of a JSON contract lies."""
    return SCHEMAS / f"{contract.name}.v{contract.version}.json"


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why `new` may not replace `old`; empty if it may.

    Closing the writer's schema matters: an open one may send anything, and adding an optional
    field would be refused.
    """
    faults = []
    if not jsoncompat.check_compat(_text(_closed(old)), _text(new), "deserializer"):
        faults.append("new readers cannot read old events")
    if not jsoncompat.check_compat(_text(old), _text(_closed(new)), "serializer"):
        faults.append("old readers cannot read new events")
    return faults


def check() -> list[str]:
    """What the gate objects to in the contracts as they stand."""
    faults = []
    for contract in _json_contracts():
        file = frozen_file(contract)
        if not file.exists():
            faults.append(f"{contract.type}: not frozen yet; run `make docs`")
            continue
        old = json.loads(file.read_text())
        faults.extend(f"{contract.type}: {fault}" for fault in breaks(old, _schema(contract)))
    known = {frozen_file(contract).name for contract in _json_contracts()} | {ASYNCAPI.name}
    faults.extend(
        f"{file.name}: its contract is gone; contracts only grow"
        for file in SCHEMAS.glob("*.json")
        if file.name not in known
    )
    return faults


def drift() -> list[str]:
    """Frozen files that are not what the code says now, though compatible."""
    stale = [
        frozen_file(contract).name
        for contract in _json_contracts()
        if not frozen_file(contract).exists()
        or frozen_file(contract).read_bytes() != schema_of(contract)
    ]
    if not ASYNCAPI.exists() or ASYNCAPI.read_text() != asyncapi_text():
        stale.append(ASYNCAPI.name)
    return stale


def freeze() -> None:
    """Write the schemas and the AsyncAPI document as they are now."""
    SCHEMAS.mkdir(exist_ok=True)
    for contract in _json_contracts():
        frozen_file(contract).write_bytes(schema_of(contract))
    ASYNCAPI.write_text(asyncapi_text())


def asyncapi_text() -> str:
    """The AsyncAPI document as committed."""
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """`check` says what breaks; `freeze` writes the snapshots unless something breaks."""
    faults = [fault for fault in check() if "not frozen yet" not in fault]
    if arguments == ["freeze"] and not faults:
        freeze()
        return 0
    for fault in faults or drift():
        sys.stderr.write(f"{fault}\n")
    return 1 if faults or drift() else 0


def _json_contracts() -> Iterator[Contract[Data]]:
    return (contract for contract in CONTRACTS if not contract.binary)


def _schema(contract: Contract[Data]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(schema_of(contract)))


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema)


def _closed(schema: Any) -> Any:
    """Every object schema with properties, closed to others."""
    if isinstance(schema, list):
        return [_closed(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(member) for name, member in schema.items()}
    if "properties" in closed:
        closed["additionalProperties"] = False
    return closed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
