"""How long runs of a model take, learned from those that were made; which of them are short.

A short run is made where it was asked for, in the event loop: to hand it to a thread and back costs about as
much as it takes itself. Whether one will be short must be known before it begins, because then nothing ends
it. Rules:

- What was asked for has a *size*: the lengths of all its dimensions, and the bytes of its texts, each rounded
  up to a power of two. Its time is what runs of that size took lately, else what larger ones took.
- A size larger than any that ran is not short: the first run of it is made in a thread, and teaches.
- A model whose work does not follow from its inputs' sizes (:mod:`workers.model.files.steady`) has no short
  runs at all.
- Every run counts, and newer ones count more: a model that became slow goes back to the thread.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, TypeAlias

from protos.tensor import Tensor
from workers.model.samples import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workers.model.session import Session

__all__ = ["SHORT_S", "Pace", "Size", "measure", "size_of"]

#: A run expected to take longer is made in a thread. To a thread and back takes 60 to 150 us on a loaded
#: machine, and nobody notices an event loop that is held for twice that.
SHORT_S = 200e-6

#: By input its name and the logarithms of its lengths.
Size: TypeAlias = "tuple[tuple[str, tuple[int, ...]], ...]"

#: Weight of the newest run of a size.
_NEWEST = 0.2
#: The most sizes to keep in mind; whoever sends more of them finds the oldest forgotten.
_MOST_SIZES = 256
_REPEATS = 5
#: A first run that took this long is not repeated to be timed: nothing about it will turn out short.
_LONG_S = 0.05


def size_of(parts: Sequence[Mapping[str, Tensor]]) -> Size:
    """Return the size of inputs that are joined along the first axis.

    Args:
        parts: Inputs by name; all have the same names, and the same shapes beyond the first axis.

    Example:
        >>> import numpy as np
        >>> row = {"x": Tensor.from_array(np.zeros((3, 64), np.float32))}
        >>> size_of([row]), size_of([row, row])
        ((('x', (2, 6)),), (('x', (3, 6)),))
    """
    first = parts[0]
    return tuple((name, _lengths([part[name] for part in parts])) for name in sorted(first))


def _lengths(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    shape = tensors[0].shape
    lengths = [sum(tensor.shape[0] for tensor in tensors), *shape[1:]] if shape else []
    if tensors[0].datatype == "BYTES":
        lengths.append(sum(tensor.nbytes for tensor in tensors))
    return tuple([(length - 1).bit_length() for length in lengths])


class Pace:
    """How long runs of one model take.

    Args:
        steady: Whether a run's work follows from the sizes of its inputs.

    Example:
        >>> pace = Pace(steady=True)
        >>> small, large = (("x", (0, 6)),), (("x", (5, 6)),)
        >>> pace.observe(large, 150e-6)
        >>> pace.is_short(small), pace.is_short((("x", (6, 6)),))
        (True, False)
    """

    def __init__(self, *, steady: bool) -> None:
        self.steady = steady
        self._seconds: dict[Size, float] = {}

    def observe(self, size: Size, seconds: float) -> None:
        """Take note of a run."""
        known = self._seconds.get(size)
        if known is None and len(self._seconds) >= _MOST_SIZES:
            del self._seconds[next(iter(self._seconds))]
        self._seconds[size] = seconds if known is None else known + _NEWEST * (seconds - known)

    def expected_s(self, size: Size) -> float:
        """Return how long a run will take; infinite where nothing is known."""
        known = self._seconds.get(size)
        if known is not None:
            return known
        larger = [seconds for other, seconds in self._seconds.items() if _covers(other, size)]
        return min(larger, default=math.inf)

    def is_short(self, size: Size) -> bool:
        """Tell whether a run will be short."""
        return self.steady and self.expected_s(size) <= SHORT_S


def _covers(larger: Size, smaller: Size) -> bool:
    return len(larger) == len(smaller) and all(
        name == other and len(those) == len(these) and all(a >= b for a, b in zip(those, these, strict=True))
        for (name, those), (other, these) in zip(larger, smaller, strict=True)
    )


def measure(session: Session, *, clock: Callable[[], float] = time.monotonic) -> float:
    """Time runs of a warm model on its samples, for its pace; return what one row takes.

    Args:
        session: The model.
        clock: Source of time.
    """
    row_s = math.inf
    for sample in samples(session.files, session.spec, session.texts):
        times = []
        for _ in range(_REPEATS):
            began = clock()
            session.run(sample.inputs)
            times.append(clock() - began)
            if times[0] >= _LONG_S:
                break
        tensors = {name: Tensor.from_array(array) for name, array in sample.inputs.items()}
        seconds = statistics.median(times)
        session.pace.observe(size_of([tensors]), seconds)
        row_s = min(row_s, seconds)
    return row_s
