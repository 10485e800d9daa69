"""Outputs told as classes: Triton's classification extension.

Rules:

- An output wanted with the parameter ``classification: N`` is answered as BYTES elements
  ``value:index[:label]``, the N highest values first; N above the number of classes gives all of them.
- Where the model batches, the answer has one list per row, [rows, classes]; else one list, [classes]. Other
  dimensions are flattened, and the index counts the flattened elements.
- Integers are written in decimal, FP32 and FP64 like C's ``%f``. Other datatypes cannot be classified.
- A class without a label, or with an empty one, is written without.
- Triton leaves open what equal values and NaN do. Here the lower index goes first, and NaN comes last.

Sources: Triton "Classification" extension; Triton server ``classification.cc``; core ``label_provider.cc``.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError, Reason
from protos.oip.tensors import MAX_WALK
from protos.tensor import DTYPES, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protos.tensor import TensorSpec

__all__ = ["classify", "classify_all", "wanted_classifications"]

_PARAMETER = "classification"
#: Most values that are put in order; while that is done, all others wait.
_MAX_SORTED = 2**20
_CLASSIFIABLE = {name for name, dtype in DTYPES.items() if dtype.kind in "iu"} | {"FP32", "FP64"}


def wanted_classifications(outputs: Iterable[Any]) -> dict[str, int]:
    """Read which of a request's wanted outputs are wanted as classes, and how many of them.

    Args:
        outputs: The request's ``outputs``.

    Returns:
        The number of classes by output; outputs wanted as tensors are left out.

    Raises:
        AccordError: PARAMETER_INVALID for a number that is not a positive int64.
    """
    counts: dict[str, int] = {}
    for i, output in enumerate(outputs):
        if _PARAMETER not in output.parameters:
            continue
        count = output.parameters[_PARAMETER].int64_param
        if count <= 0:  # also where the value is of another kind
            raise AccordError(
                Reason.PARAMETER_INVALID,
                f"parameter {_PARAMETER!r} of output {output.name[:64]!r} must be a positive int64, "
                "the number of classes",
                field=f"outputs[{i}].parameters[{_PARAMETER!r}]",
            )
        counts[output.name] = count
    return counts


def classify(tensor: Tensor, count: int, *, name: str, labels: Sequence[str], batches: bool) -> Tensor:
    """Tell an output as its highest classes.

    Args:
        tensor: The output.
        count: How many classes are wanted, at least 1.
        name: The output's name, for the error.
        labels: Names of the classes by index, or empty.
        batches: Whether the first dimension is the row dimension.

    Returns:
        A BYTES tensor of shape [rows, classes], or [classes] where the model does not batch.

    Raises:
        AccordError: PARAMETER_INVALID if the datatype has no classes, or there are too many values to put
            in order or texts to write.

    Example:
        >>> scores = Tensor.from_array(np.array([[1, 5, 10, 4]]))
        >>> labels = ["plum", "pickle", "apple", "fig"]
        >>> classify(scores, 2, name="y", labels=labels, batches=True).array().tolist()
        [[b'10:2:apple', b'5:1:pickle']]
    """
    if tensor.datatype not in _CLASSIFIABLE:
        raise _refused(name, f"is {tensor.datatype}, which has no classes; ask for the tensor")
    rows = tensor.shape[0] if batches else 1
    classes = prod(tensor.shape[1:] if batches else tensor.shape)
    if rows * classes > _MAX_SORTED:
        raise _refused(
            name, f"has {rows * classes} values, at most {_MAX_SORTED} are put in order; ask for fewer rows"
        )
    kept = min(count, classes)
    if rows * kept > MAX_WALK:
        raise _refused(name, f"would have {rows * kept} texts, at most {MAX_WALK} are written; ask for fewer")
    values = tensor.array().reshape(rows, classes)
    # both negations reverse the order exactly, so that a stable sort keeps equal values in index order
    downwards = -values if values.dtype.kind == "f" else ~values
    order = np.argsort(downwards, axis=1, kind="stable")[:, :kept]
    highest = np.take_along_axis(values, order, axis=1)
    form = "%f:%d" if values.dtype.kind == "f" else "%d:%d"
    texts = np.empty(rows * kept, object)
    texts[:] = [
        (form % (value, index) + _suffix(labels, index)).encode()
        for value, index in zip(highest.ravel().tolist(), order.ravel().tolist(), strict=True)
    ]
    return Tensor.from_array(texts.reshape((rows, kept) if batches else (kept,)))


def classify_all(
    outputs: Mapping[str, Tensor], counts: Mapping[str, int], specs: Iterable[TensorSpec], *, batches: bool
) -> Mapping[str, Tensor]:
    """Return an answer's outputs, those as classes that are wanted as such.

    Args:
        outputs: The answer's outputs by name.
        counts: How many classes are wanted, by output.
        specs: What is known of the outputs; their labels name the classes.
        batches: Whether the first dimension is the row dimension.

    Raises:
        AccordError: As :func:`classify`.
    """
    if not counts:
        return outputs
    labels = {spec.name: spec.labels for spec in specs}
    return {
        name: classify(tensor, counts[name], name=name, labels=labels[name], batches=batches)
        if name in counts
        else tensor
        for name, tensor in outputs.items()
    }


def _suffix(labels: Sequence[str], index: int) -> str:
    label = labels[index] if index < len(labels) else ""
    return f":{label}" if label else ""


def _refused(name: str, problem: str) -> AccordError:
    return AccordError(
        Reason.PARAMETER_INVALID, f"parameter {_PARAMETER!r}: output {name!r} {problem}", field="outputs"
    )
