"""Several requests computed as one: join their rows, run the model, give each its own rows.

Rules:

- A batch that the model refuses as a caller's fault (INVALID_ARGUMENT) is run again request by request, so
  that only the guilty one hears of it. Any other failure is that of the whole batch.
- Each output of a batch must have as many rows as its inputs, or nobody's rows are known (INTERNAL).
- Rows are given out as views of the batch's outputs; numbers are not copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from protos.errors import AccordError, Code, Reason
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workers.model.session import Abort
    from workers.schedule import Entry

__all__ = ["Compute", "Execution", "Job", "Ran", "execute"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Computes outputs from inputs: all of them where none are named. Ends early when told to.
Compute: TypeAlias = "Callable[[Mapping[str, Array], Sequence[str], Abort], Mapping[str, Array]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request to a model, checked against its interface.

    Args:
        inputs: Its input tensors by name.
        rows: How many rows they have.
        wanted: Names of the outputs to compute; empty for all.
        deadline: Absolute monotonic time after which nobody waits for it.
        priority: The level that it asks for, 1 being the highest; 0 for the default level.
        timeout_s: How long it is willing to queue, where the queue's policy lets it say so.
        gathered: Whether it is several requests already, that waited for each other before they came.
    """

    inputs: Mapping[str, Tensor]
    rows: int
    wanted: tuple[str, ...]
    deadline: float | None = None
    priority: int = 0
    timeout_s: float | None = None
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the model: its rows, and the seconds spent on joining, computing and splitting them."""

    rows: int
    input_s: float
    infer_s: float
    output_s: float

    @property
    def total_s(self) -> float:
        """All of them."""
        return self.input_s + self.infer_s + self.output_s


@dataclass(frozen=True, slots=True)
class Ran:
    """What one job got: its outputs, the seconds until its run began, and the run."""

    outputs: Mapping[str, Tensor]
    queue_s: float
    execution: Execution


def execute(
    compute: Compute, entries: Sequence[Entry[Job]], abort: Abort, clock: Callable[[], float]
) -> list[Ran | Exception]:
    """Compute some jobs in one run, or in one run each if the model refuses them together.

    Args:
        compute: Runs the model.
        entries: The jobs; all have the same input names, datatypes, non-row shapes and wanted outputs.
        abort: Ends the runs early when set.
        clock: Source of monotonic time.

    Returns:
        What became of each job, in order.
    """
    try:
        return [*_run(compute, entries, abort, clock)]
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes to those who wait for the run
        failure = error
    refused = isinstance(failure, AccordError) and failure.reason.code is Code.INVALID_ARGUMENT
    if refused and len(entries) > 1:
        return [result for entry in entries for result in execute(compute, [entry], abort, clock)]
    return [failure] * len(entries)


def _run(
    compute: Compute, entries: Sequence[Entry[Job]], abort: Abort, clock: Callable[[], float]
) -> list[Ran]:
    jobs = [entry.item for entry in entries]
    began = clock()
    inputs = {name: _joined([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
    joined = clock()
    outputs = compute(inputs, jobs[0].wanted, abort)
    computed = clock()
    sizes = [job.rows for job in jobs]
    shares = _shares({name: Tensor.from_array(array) for name, array in outputs.items()}, sizes)
    execution = Execution(sum(sizes), joined - began, computed - joined, clock() - computed)
    return [
        Ran(share, began - entry.arrived, execution) for entry, share in zip(entries, shares, strict=True)
    ]


def _joined(tensors: Sequence[Tensor]) -> Array:
    arrays = [tensor.array() for tensor in tensors]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _shares(outputs: Mapping[str, Tensor], sizes: Sequence[int]) -> list[Mapping[str, Tensor]]:
    if len(sizes) == 1:
        return [outputs]
    for name, tensor in outputs.items():
        if tensor.shape[:1] != (sum(sizes),):
            cause = ValueError(f"output {name!r} of a batch of {sum(sizes)} rows is {list(tensor.shape)}")
            raise AccordError(Reason.INTERNAL, "the model's answer has another number of rows") from cause
    bounds = pairwise(accumulate(sizes, initial=0))
    return [{name: tensor.rows(*rows) for name, tensor in outputs.items()} for rows in bounds]
