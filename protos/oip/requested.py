"""The outputs that a request asks for: which, and in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, Reason
from protos.oip.classification import wanted_classifications
from protos.oip.tensors import check_number
from protos.oip.wire import SHARED_MEMORY_REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_requested"]


def read_requested(outputs: Sequence[Any]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Read a request's ``outputs``.

    Returns:
        The names, and how many classes are wanted of those that are wanted as classes.

    Raises:
        AccordError: UNSUPPORTED for an output in shared memory; PARAMETER_INVALID for a wrong number of
            classes; INPUT_UNKNOWN for very many outputs.
    """
    check_number("outputs", len(outputs))
    for i, output in enumerate(outputs):
        for key in output.parameters:
            if key.startswith("shared_memory"):
                raise AccordError(
                    Reason.UNSUPPORTED,
                    SHARED_MEMORY_REFUSED,
                    field=f"outputs[{i}].parameters[{key[:64]!r}]",
                )
    return tuple(output.name for output in outputs), wanted_classifications(outputs)
