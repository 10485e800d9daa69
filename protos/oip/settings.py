"""Log and trace settings: Triton's logging and trace extensions.

Both are maps that one call reads or updates: a request without settings reads. An update changes only what it
names, and all of it or nothing.

- Levels are a threshold here: a level is logged only together with all above it. Triton can switch each by
  itself; what is no threshold is refused, rather than half obeyed.
- ``log_file`` and ``log_format`` are told, but no call changes them: a file that a request names is a file
  that a request can overwrite (CVE-2024-0087).
- Spans are not recorded, so tracing is off and stays off.

Sources: Triton "Logging" and "Trace" extensions; Triton server ``grpc_server.cc``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, Reason
from protos.oip.wire import messages

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LogSettings", "level_of", "log_settings", "trace_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, and how; the names are the protocol's.

    Args:
        log_info: Whether messages of level INFO are logged.
        log_warning: Whether those of level WARNING are.
        log_error: Whether those of level ERROR are.
        log_verbose_level: Above 0, messages of level DEBUG are logged; there is one such level.
        log_format: The form of the lines; fixed at the start.
        log_file: Where they go; empty = standard error. Fixed.
    """

    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_verbose_level: int = 0
    log_format: str = "text"
    log_file: str = ""


#: Setting -> its field in a ``SettingValue``.
_FIELDS = {
    "log_file": "string_param",
    "log_info": "bool_param",
    "log_warning": "bool_param",
    "log_error": "bool_param",
    "log_verbose_level": "uint32_param",
    "log_format": "string_param",
}
_FIXED = ("log_file", "log_format")
_KINDS = {"bool_param": "a boolean", "uint32_param": "a uint32"}

#: What tracing is when it is off; the names are the protocol's.
_TRACE = {
    "trace_level": "OFF",
    "trace_rate": "0",
    "trace_count": "0",
    "log_frequency": "0",
    "trace_file": "",
}


def log_settings(request: Any, current: LogSettings, *, may_update: bool) -> tuple[LogSettings, Any]:
    """Read or update the log settings.

    Args:
        request: A ``LogSettingsRequest``.
        current: The settings now.
        may_update: Whether the caller may change them.

    Returns:
        The settings from now on, and the ``LogSettingsResponse`` that tells them.

    Raises:
        AccordError: MODEL_FORBIDDEN for an update without permission; PARAMETER_INVALID, with the field, for
            a setting that is unknown, fixed or of a wrong type, or levels that are no threshold.
    """
    if request.settings and not may_update:
        raise AccordError(
            Reason.MODEL_FORBIDDEN,
            "log settings can only be read here; change them at the server's admin address",
            field="settings",
        )
    settings = replace(current, **_checked(request.settings))
    _check_threshold(settings)
    response = messages.LogSettingsResponse()
    for name, kind in _FIELDS.items():
        setattr(response.settings[name], kind, getattr(settings, name))
    return settings, response


def level_of(settings: LogSettings) -> int:
    """Return the level of the standard library's ``logging`` that the settings stand for.

    Example:
        >>> level_of(LogSettings(log_info=False)) == logging.WARNING
        True
    """
    return next((level for level, on in _levels(settings) if on), logging.CRITICAL)


def trace_settings(request: Any) -> Any:
    """Build the ``TraceSettingResponse`` that reads the trace settings.

    Args:
        request: A ``TraceSettingRequest``; whether its model exists is for the caller to check.

    Raises:
        AccordError: UNSUPPORTED for an update.
    """
    if request.settings:
        raise AccordError(
            Reason.UNSUPPORTED,
            "trace settings cannot be changed: spans are not recorded here; W3C trace context is passed on",
            field="settings",
        )
    response = messages.TraceSettingResponse()
    for name, value in _TRACE.items():
        response.settings[name].value.append(value)
    return response


def _levels(settings: LogSettings) -> list[tuple[int, bool]]:
    """Return each level from the lowest, and whether it is logged."""
    return [
        (logging.DEBUG, settings.log_verbose_level > 0),
        (logging.INFO, settings.log_info),
        (logging.WARNING, settings.log_warning),
        (logging.ERROR, settings.log_error),
    ]


def _checked(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of an update."""
    changes = {}
    for name, value in wanted.items():
        if name in _FIXED:
            raise _invalid(name, "is set where the server is started; a call cannot change it")
        if name not in _FIELDS:
            changeable = ", ".join(known for known in _FIELDS if known not in _FIXED)
            raise _invalid(name, f"is unknown; a call can change {changeable}")
        kind = value.WhichOneof("parameter_choice")
        if kind != _FIELDS[name]:
            raise _invalid(name, f"must be {_KINDS[_FIELDS[name]]}")
        changes[name] = getattr(value, kind)
    return changes


def _check_threshold(settings: LogSettings) -> None:
    on = [logged for _, logged in _levels(settings)]
    if on != sorted(on):
        raise AccordError(
            Reason.PARAMETER_INVALID,
            "levels are a threshold here: log_verbose_level, log_info, log_warning, log_error; "
            "whatever follows one that is on must be on as well",
            field="settings",
        )


def _invalid(name: str, problem: str) -> AccordError:
    return AccordError(
        Reason.PARAMETER_INVALID, f"setting {name[:64]!r} {problem}", field=f"settings[{name[:64]!r}]"
    )
