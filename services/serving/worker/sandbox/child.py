"""`python -m services.serving.worker.sandbox.child <descriptor>`: the process of one model.

It confines itself before it looks at the model, so that all of the model's code, from unpickling
on, runs without network, writing, other processes and the worker's memory. What it prints goes
to a pipe that the worker reads; answers go over the socket in argv[1].

It gets {"parent", "path", "format", "memory", "cores", "first_core"} in argv[2] and says {"loaded",
"platform", "inputs", "outputs"} or {"refused": reason}; then, for each {"call": number} with
tensors, the same number with the outputs, or with {"error": reason}.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace
import services
from headrace.confinement.process import (
    READ_BY_LIBRARIES,
    Confinement,
    code_paths,
    confine,
    die_with_parent_thread,
)
from headrace.errors import Refused

if TYPE_CHECKING:
    from services.serving.worker.runtimes.runtime import Runtime

_MAX_REQUEST = 2**31


def main(descriptor: int) -> None:
    die_with_parent_thread()
    connection = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    plan = _plan()
    if os.getppid() != plan["parent"]:
        return
    path = Path(plan["path"])
    try:
        confined = confine(
            Confinement(
                readable=[*READ_BY_LIBRARIES, *_code(), path.parent],
                memory=plan["memory"],
                cores=plan["cores"],
                first_core=plan["first_core"],
            )
        )
        runtime = _load(path, plan["format"], plan["memory"])
    except Refused as error:
        _say(connection, refused=str(error))
        return
    _say(
        connection,
        loaded=confined,
        platform=runtime.platform,
        inputs=[asdict(spec) for spec in runtime.inputs],
        outputs=[asdict(spec) for spec in runtime.outputs],
    )
    _serve(connection, runtime)


def _plan() -> dict[str, Any]:
    import orjson  # noqa: PLC0415 - as late as can be

    plan: dict[str, Any] = orjson.loads(sys.argv[2])
    return plan


def _code() -> list[Path]:
    return code_paths([headrace.__name__, services.__name__])


def _load(path: Path, kind: str, memory: int) -> Runtime:
    from services.serving.domain.formats import Format  # noqa: PLC0415 - confined by now
    from services.serving.worker.sandbox.pickles import open_pickled  # noqa: PLC0415

    try:
        return open_pickled(path, Format(kind))
    except Refused:
        raise
    except MemoryError as error:
        raise Refused(f"{path.name} does not load within {memory >> 20} MiB") from error
    except BaseException as error:
        raise Refused(f"{path.name} cannot be loaded: {_text(error)}") from error


def _serve(connection: socket.socket, runtime: Runtime) -> None:
    from services.serving.worker.sandbox import wire  # noqa: PLC0415 - confined by now

    datatypes = [(spec.name, spec.datatype) for spec in runtime.outputs]
    while True:
        try:
            message = wire.receive(connection, max_body=_MAX_REQUEST)
        except EOFError:
            return
        call = message.fields["call"]
        feed = {name: array for name, _, array in message.tensors}
        try:
            outputs = runtime.run(feed)
            tensors = [
                wire.of_array(name, kind, output)
                for (name, kind), output in zip(datatypes, outputs, strict=True)
            ]
            answer = wire.Message(fields={"call": call}, tensors=tensors)
        except BaseException as error:
            answer = wire.Message(fields={"call": call, "error": _text(error)})
        wire.send(connection, answer)


def _say(connection: socket.socket, **fields: Any) -> None:
    from services.serving.worker.sandbox import wire  # noqa: PLC0415 - confined by now

    wire.send(connection, wire.Message(fields=fields))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:4000]


if __name__ == "__main__":
    main(int(sys.argv[1]))
