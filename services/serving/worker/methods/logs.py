"""LogSettings: which of this worker's log lines are written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from headrace.rpc.inference import open_inference_pb2 as oip
from services.serving.worker.calls import Details, Reply
from services.serving.worker.failure import Code, Failure, invalid
from services.serving.worker.messages import parse

_SWITCHES: Final = ("log_info", "log_warning", "log_error")
_FIXED: Final[Mapping[str, str | int]] = {
    "log_file": "",
    "log_format": "default",
    "log_verbose_level": 0,
}
_Setting = oip.LogSettingsRequest.SettingValue
_Value = bool | int | str


class LogSwitches(logging.Filter):
    """Lets lines pass by their level; all of them at first."""

    def __init__(self) -> None:
        super().__init__()
        self.on = dict.fromkeys(_SWITCHES, True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno >= logging.ERROR:
            return self.on["log_error"]
        return self.on["log_warning" if record.levelno >= logging.WARNING else "log_info"]


class LogSettings:
    """Reads and moves the switches."""

    def __init__(self, *, switches: LogSwitches) -> None:
        self._switches = switches

    def log_settings(self, payload: bytes, details: Details) -> Reply:  # noqa: ARG002
        """All settings of the request hold afterwards, or none. Raises Failure."""
        request = parse(oip.LogSettingsRequest, payload)
        wanted = {name: _checked(name, setting) for name, setting in request.settings.items()}
        self._switches.on |= {
            name: value for name, value in wanted.items() if isinstance(value, bool)
        }
        return Reply(payload=self._answer().SerializeToString())

    def _answer(self) -> oip.LogSettingsResponse:
        answer = oip.LogSettingsResponse()
        for name, on in self._switches.on.items():
            answer.settings[name].bool_param = on
        answer.settings["log_verbose_level"].uint32_param = 0
        for name in ("log_file", "log_format"):
            answer.settings[name].string_param = str(_FIXED[name])
        return answer


def _checked(name: str, setting: _Setting) -> _Value:
    """The value of a setting. Raises Failure if it is unknown, of another type, or not ours."""
    default: _Value | None = True if name in _SWITCHES else _FIXED.get(name)
    if default is None:
        raise invalid(f"unknown log setting '{name[:64]}'")
    given = setting.WhichOneof("parameter_choice")
    wanted = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(default)]
    if given != wanted:
        raise invalid(f"log setting '{name}' expects a {wanted}, got {given or 'nothing'}")
    value: _Value = getattr(setting, given)
    if name in _FIXED and value != default:
        raise Failure(
            Code.UNIMPLEMENTED, f"log setting '{name}' cannot be changed from '{default}'"
        )
    return value
