"""Parameters of requests and answers as plain values, and the ones with a meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONTENTS",
    "GATHERED",
    "RESERVED",
    "Parameter",
    "custom",
    "priority",
    "read_parameters",
    "refuse_sequences",
    "timeout_s",
    "typed_contents",
    "write_parameters",
]

#: A request or response parameter's value.
Parameter = bool | int | str | float

#: Request parameters with a meaning of their own. Source: Triton "Parameters" extension, tritonclient.
RESERVED = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
        "classification",
    }
)
#: Our parameter for the form of the answer's tensors.
CONTENTS = "accord_contents"
#: Our parameter of a call that is several requests already, which waited for each other; for our workers.
GATHERED = "accord_gathered"
#: Beginnings of names that are Triton's and ours to give.
_RESERVED_PREFIXES = ("triton_", "accord_", "shared_memory_")
#: The sequence parameters' types.
_SEQUENCE = {"sequence_id": (int, str), "sequence_start": (bool,), "sequence_end": (bool,)}
_KIND_NAMES = {int: "an integer", str: "a string", bool: "a boolean"}
_MAX_INT64 = 2**63 - 1
#: Most parameters of a request: each is read, while all others wait.
_MAX_PARAMETERS = 256


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    """Read an ``InferParameter`` map into plain values.

    Raises:
        AccordError: PARAMETER_INVALID for a parameter without a value, or for very many.
    """
    if len(parameters) > _MAX_PARAMETERS:
        raise AccordError(
            Reason.PARAMETER_INVALID,
            f"parameters has {len(parameters)} entries; at most {_MAX_PARAMETERS} are read",
            field="parameters",
        )
    values: dict[str, Parameter] = {}
    for key, message in parameters.items():
        kind = message.WhichOneof("parameter_choice")
        if kind is None:
            raise _invalid(key[:64], "has no value")
        values[key] = getattr(message, kind)
    return values


def custom(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return the parameters that are the caller's own: those whose name is not reserved.

    Example:
        >>> custom({"priority": 1, "triton_x": True, "temperature": 0.5})
        {'temperature': 0.5}
    """
    return {
        key: value
        for key, value in parameters.items()
        if key not in RESERVED and not key.startswith(_RESERVED_PREFIXES)
    }


def timeout_s(parameters: Mapping[str, Parameter]) -> float | None:
    """Return the budget that the ``timeout`` parameter gives, in seconds.

    The parameter counts microseconds; 0 means none. Source: Triton "Schedule Policy" extension.

    Raises:
        AccordError: PARAMETER_INVALID if it is not a non-negative integer.
    """
    value = _natural(parameters, "timeout", "of microseconds")
    return value / 1e6 if value else None


def priority(parameters: Mapping[str, Parameter]) -> int:
    """Return the ``priority`` parameter: 1 is the highest, 0 the server's default.

    Source: Triton "Schedule Policy" extension; tritonclient sends it as uint64, others as int64.

    Raises:
        AccordError: PARAMETER_INVALID if it is not a non-negative integer.
    """
    return _natural(parameters, "priority", "(1 is the highest, 0 the default)")


def gathered(parameters: Mapping[str, Parameter]) -> bool:
    """Tell whether a call is several requests already, so that it need not wait for others.

    Raises:
        AccordError: PARAMETER_INVALID if it is not a boolean.
    """
    value = parameters.get(GATHERED, False)
    if not isinstance(value, bool):
        raise _invalid(GATHERED, "must be a boolean")
    return value


def refuse_sequences(parameters: Mapping[str, Parameter]) -> None:
    """Refuse a request that belongs to a sequence; empty sequence parameters ask for nothing.

    Source: Triton "Sequence" extension.

    Raises:
        AccordError: PARAMETER_INVALID for a wrong type, UNSUPPORTED where one is used.
    """
    for key, kinds in _SEQUENCE.items():
        value = parameters.get(key)
        if value is None:
            continue
        if type(value) not in kinds:
            raise _invalid(key, f"must be {' or '.join(_KIND_NAMES[kind] for kind in kinds)}")
        if value:
            raise AccordError(
                Reason.UNSUPPORTED,
                f"parameter {key!r}: sequences are not offered; send each request by itself",
                field=f"parameters[{key!r}]",
            )


def typed_contents(parameters: Mapping[str, Parameter]) -> bool:
    """Return whether the answer's tensors are wanted as typed contents, for stubs that read nothing else.

    Raises:
        AccordError: PARAMETER_INVALID if the parameter is neither ``typed`` nor ``raw``.
    """
    value = parameters.get(CONTENTS, "raw")
    if value not in ("raw", "typed"):
        raise _invalid(CONTENTS, "must be 'raw' or 'typed'")
    return value == "typed"


def write_parameters(parameters: Any, values: Mapping[str, Parameter]) -> None:
    """Write plain values into an ``InferParameter`` map."""
    for key, value in values.items():
        match value:
            case bool():
                parameters[key].bool_param = value
            case int() if value > _MAX_INT64:
                parameters[key].uint64_param = value
            case int():
                parameters[key].int64_param = value
            case float():
                parameters[key].double_param = value
            case str():
                parameters[key].string_param = value


def _natural(parameters: Mapping[str, Parameter], key: str, unit: str) -> int:
    value = parameters.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _invalid(key, f"must be a non-negative integer {unit}")
    return value


def _invalid(key: str, problem: str) -> AccordError:
    return AccordError(Reason.PARAMETER_INVALID, f"parameter {key!r} {problem}", field=f"parameters[{key!r}]")
