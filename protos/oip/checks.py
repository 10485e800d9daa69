"""Whether a request's tensors are what a model takes, and its wanted outputs what the model returns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protos.tensor import Tensor, TensorSpec

__all__ = ["check_inputs", "check_wanted"]


def check_inputs(
    inputs: Mapping[str, Tensor], specs: Sequence[TensorSpec], *, model: str, batches: bool, max_rows: int
) -> int:
    """Check a request's tensors against what a model takes.

    Args:
        inputs: Tensors by name, in request order (the order gives the field's index).
        specs: What the model takes.
        model: The model's name, for the error.
        batches: Whether the first dimension of every input is the row dimension.
        max_rows: The most rows of one call, where the model batches.

    Returns:
        The number of rows; 1 where the model does not batch.

    Raises:
        AccordError: INPUT_MISSING, INPUT_UNKNOWN, DTYPE_MISMATCH or SHAPE_MISMATCH.
    """
    known = {spec.name: spec for spec in specs}
    for i, (name, tensor) in enumerate(inputs.items()):
        spec = known.get(name)
        if spec is None:
            raise _mismatch(
                Reason.INPUT_UNKNOWN,
                f"{model!r} has no input {name[:64]!r}; it takes {_names(known)}",
                f"inputs[{i}].name",
                model,
            )
        _check_tensor(i, tensor, spec, model)
    missing = [s.name for s in specs if not s.optional and s.name not in inputs]
    if missing:
        problem = f"{model!r} needs input {missing[0]!r}; it takes {_names(known)}"
        raise _mismatch(Reason.INPUT_MISSING, problem, "inputs", model)
    return _rows(inputs, model, max_rows) if batches else 1


def _check_tensor(i: int, tensor: Tensor, spec: TensorSpec, model: str) -> None:
    if tensor.datatype != spec.datatype:
        raise _mismatch(
            Reason.DTYPE_MISMATCH,
            f"input {spec.name!r} of {model!r} is {spec.datatype}, got {tensor.datatype}",
            f"inputs[{i}].datatype",
            model,
        )
    if not spec.accepts(tensor.shape):
        raise _mismatch(
            Reason.SHAPE_MISMATCH,
            f"input {spec.name!r} of {model!r} takes shape {list(spec.shape)} (-1 = any length), "
            f"got {list(tensor.shape)}",
            f"inputs[{i}].shape",
            model,
        )


def _rows(inputs: Mapping[str, Tensor], model: str, most: int) -> int:
    """Return the number of rows that all inputs have."""
    for (a, first), (b, second) in pairwise(inputs.items()):
        if first.shape[0] != second.shape[0]:
            raise _mismatch(
                Reason.SHAPE_MISMATCH,
                f"inputs {a!r} and {b!r} of {model!r} have {first.shape[0]} and {second.shape[0]} rows; "
                "all inputs must have the same number",
                "inputs",
                model,
            )
    rows = next(iter(inputs.values())).shape[0] if inputs else 0
    if rows > most:
        problem = f"{model!r} takes at most {most} rows per call, got {rows}; send them in parts"
        raise _mismatch(Reason.SHAPE_MISMATCH, problem, "inputs", model)
    return rows


def check_wanted(wanted: Sequence[str], outputs: Iterable[str], *, model: str) -> None:
    """Check that each wanted output exists and is named once.

    Raises:
        AccordError: INPUT_UNKNOWN, with the field of the wrong name.
    """
    known = list(outputs)
    for i, name in enumerate(wanted):
        if name not in known or name in wanted[:i]:
            problem = "is wanted twice" if name in known else f"is not an output of {model!r}"
            raise _mismatch(
                Reason.INPUT_UNKNOWN,
                f"output {name[:64]!r} {problem}; it returns {_names(known)}",
                f"outputs[{i}].name",
                model,
            )


def _mismatch(reason: Reason, problem: str, field: str, model: str) -> AccordError:
    return AccordError(reason, problem, field=field, metadata={"model": model})


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names)
