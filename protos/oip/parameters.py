"""Parameters of requests and answers as plain values, and the ones with a meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Parameter", "read_parameters", "timeout_s", "write_parameters"]

#: A request or response parameter's value.
Parameter = bool | int | str | float


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    """Read an ``InferParameter`` map into plain values.

    Raises:
        AccordError: PARAMETER_INVALID for a parameter without a value.
    """
    values: dict[str, Parameter] = {}
    for key, message in parameters.items():
        kind = message.WhichOneof("parameter_choice")
        if kind is None:
            raise AccordError(
                Reason.PARAMETER_INVALID,
                f"parameter {key[:64]!r} has no value",
                field=f"parameters[{key[:64]!r}]",
            )
        values[key] = getattr(message, kind)
    return values


def timeout_s(parameters: Mapping[str, Parameter]) -> float | None:
    """Return the budget that the ``timeout`` parameter gives, in seconds.

    The parameter counts microseconds; 0 means none. Source: Triton "Schedule Policy" extension.

    Raises:
        AccordError: PARAMETER_INVALID if it is not a non-negative integer.
    """
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AccordError(
            Reason.PARAMETER_INVALID,
            "parameter 'timeout' must be a non-negative integer of microseconds",
            field="parameters['timeout']",
        )
    return value / 1e6 if value else None


def write_parameters(parameters: Any, values: Mapping[str, Parameter]) -> None:
    """Write plain values into an ``InferParameter`` map."""
    for key, value in values.items():
        match value:
            case bool():
                parameters[key].bool_param = value
            case int():
                parameters[key].int64_param = value
            case float():
                parameters[key].double_param = value
            case str():
                parameters[key].string_param = value
