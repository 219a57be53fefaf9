"""The repository calls, in the layouts of Triton, KServe and MLServer at once.

Models come into memory by events of the registry. So the index tells what that made of them, and
to load a model that answers is done already; what else may be loaded and unloaded by calls is up
to a `ModelControl`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, Protocol

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.messages import parse
from services.serving.worker.residency import State
from services.serving.worker.table import Entry, Serving, Table

_Parameters = Mapping[str, oip.ModelRepositoryParameter]
_UNLOAD: Final = {"unload_dependents": "bool_param"}
_FILE: Final = "file:"
_STATES: Final[Mapping[State, str]] = {
    State.HERE: "READY",
    State.AWAY: "READY",
    State.LOADING: "LOADING",
    State.BROKEN: "UNAVAILABLE",
}
"""A model that the next call brings into memory is ready: that call is answered."""


class ModelControl(Protocol):
    """Takes models out of the line-up and back; from any thread, until it is so."""

    def load(self, model: str, details: Details) -> None:
        """Have it answer. Raises Failure."""
        ...

    def unload(self, model: str, details: Details) -> None:
        """Have it answer no more. Raises Failure."""
        ...


class ControlledByEvents:
    """Nothing is loaded or unloaded by calls."""

    def load(self, model: str, details: Details) -> NoReturn:  # noqa: ARG002
        _refuse()

    def unload(self, model: str, details: Details) -> NoReturn:  # noqa: ARG002
        _refuse()


class Repository:
    """Answers the repository calls from the table in force."""

    def __init__(self, *, serving: Serving, control: ModelControl) -> None:
        self._serving = serving
        self._control = control

    def index(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        request = parse(oip.RepositoryIndexRequest, payload)
        if request.repository_name:
            raise _no_repositories()
        answer = oip.RepositoryIndexResponse(
            models=index_of(self._serving.table, only_ready=request.ready)
        )
        return Reply(payload=answer.SerializeToString())

    def load(self, payload: bytes, details: Details) -> Reply:
        request = parse(oip.RepositoryModelLoadRequest, payload)
        model = _model_of(request.repository_name, request.model_name)
        _check_load(request.parameters)
        if not self._serving.table.is_ready(model, ""):
            self._control.load(model, details)
        self._bring(model)
        answer = oip.RepositoryModelLoadResponse(model_name=model, isLoaded=True)
        return Reply(payload=answer.SerializeToString())

    def _bring(self, name: str) -> None:
        """Have the champion in this worker's memory. Raises Failure."""
        model, _ = self._serving.table.answering(name, "")
        model.bring()
        model.release()
        if not model.presence.answers:
            raise Failure(Code.INTERNAL, f"load failed for model '{name}': {model.presence.reason}")

    def unload(self, payload: bytes, details: Details) -> Reply:
        request = parse(oip.RepositoryModelUnloadRequest, payload)
        model = _model_of(request.repository_name, request.model_name)
        _check_unload(request.parameters)
        self._control.unload(model, details)
        answer = oip.RepositoryModelUnloadResponse(model_name=model, isUnloaded=True)
        return Reply(payload=answer.SerializeToString())


def index_of(table: Table, *, only_ready: bool) -> list[oip.RepositoryIndexResponse.ModelIndex]:
    """Every version that this worker knows of, by name and number."""
    return [
        line
        for name in sorted(table.entries)
        for line in _lines(name, table.entries[name])
        if line.state == "READY" or not only_ready
    ]


def _lines(name: str, entry: Entry) -> Iterator[oip.RepositoryIndexResponse.ModelIndex]:
    line = oip.RepositoryIndexResponse.ModelIndex
    known = sorted({*entry.versions, *entry.unavailable})
    for version in known:
        model = entry.versions.get(version)
        if model is not None:
            presence = model.presence
            state = _STATES[presence.state]
            yield line(name=name, version=str(version), state=state, reason=presence.reason)
        else:
            reason = entry.unavailable[version]
            yield line(name=name, version=str(version), state="UNAVAILABLE", reason=reason)
    if not known:
        reason = entry.unloaded or "no version is promoted"
        yield line(name=name, state="UNAVAILABLE", reason=reason)


def _model_of(repository: str, model: str) -> str:
    """The model meant: KServe has its name where Triton has the repository's."""
    if repository and model:
        raise _no_repositories()
    if not repository and not model:
        raise invalid("the name of the model is missing")
    return model or repository


def _check_load(parameters: _Parameters) -> None:
    for name, parameter in parameters.items():
        if name == "config":
            _check_kind(name, parameter, "string_param")
        elif name.startswith(_FILE):
            _check_kind(name, parameter, "bytes_param")
            if "config" not in parameters:
                raise invalid(f"load parameter '{name[:64]}' needs the parameter 'config'")
        else:
            raise invalid(f"unrecognized load parameter '{name[:64]}'")
    if parameters:
        raise Failure(
            Code.UNIMPLEMENTED,
            "models are loaded as they were registered: their config and files cannot be "
            "overridden; register a version instead",
        )


def _check_unload(parameters: _Parameters) -> None:
    for name, parameter in parameters.items():
        wanted = _UNLOAD.get(name)
        if wanted is None:
            raise invalid(f"unrecognized unload parameter '{name[:64]}'")
        _check_kind(name, parameter, wanted)


def _check_kind(name: str, parameter: oip.ModelRepositoryParameter, wanted: str) -> None:
    given = parameter.WhichOneof("parameter_choice")
    if given != wanted:
        raise invalid(f"parameter '{name[:64]}' expects a {wanted}, got {given or 'nothing'}")


def _no_repositories() -> Failure:
    return Failure(Code.UNIMPLEMENTED, "'repository_name' specification is not supported")


def _refuse() -> NoReturn:
    raise Failure(
        Code.UNAVAILABLE, "explicit model load / unload is not allowed if polling is enabled"
    )
