"""How tensors get to the ONNX runtime and back: as plain arrays, or bound to a device's memory.

Rules:

- On a GPU tensors are bound: an input is copied to the device once and an output once from it. As plain
  arrays every output is copied a second time, within the host.
- BF16 is bound everywhere, because only bound tensors can carry it. It is bound to host memory, where
  :func:`workers.model.runtime.marshal.unbox` finds it.
- Strings cannot be bound.
- An output's memory belongs to its answer and is never used again for the next one.

The runtime's ``run_with_iobinding`` forgets whose fault an error was (microsoft/onnxruntime#14438), so a run
that failed is made once more by ``run_with_ort_values``, which tells. (``run_with_ortvaluevector`` tells too,
but copies its run options, so that nothing could abort it.)

Measured on a CPU, where binding saves no copy: 12 us a run against 5 us for a tiny model, and no gain for
tensors of 8 MiB. So plain arrays are the default there. (``run_with_ort_values`` takes 40 us.)

Source: ONNX Runtime "I/O Binding".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.model.runtime import marshal

if TYPE_CHECKING:
    from collections.abc import Collection

    from workers.model.runtime.instances import Placement

__all__ = ["Array", "Compute", "bound", "computing", "plain"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Computes the named outputs, in order, from inputs by name, under the runtime's run options.
Compute = Callable[[Sequence[str], Mapping[str, Array], Any], list[Array]]


def computing(runtime: Any, datatypes: Collection[str], placement: Placement) -> Compute:
    """Return the way that fits a model.

    Args:
        runtime: The runtime's session.
        datatypes: Those of the model's tensors.
        placement: The device it runs on.
    """
    if "BF16" in datatypes or (placement.device == "gpu" and "BYTES" not in datatypes):
        return bound(runtime, placement)
    return plain(runtime)


def plain(runtime: Any) -> Compute:
    """Pass plain arrays."""

    def compute(names: Sequence[str], feed: Mapping[str, Array], run_options: Any) -> list[Array]:
        values: list[Array] = runtime.run(names, feed, run_options)
        return values

    return compute


def bound(runtime: Any, placement: Placement) -> Compute:
    """Bind tensors to a device's memory; the same code runs on a CPU."""
    device = ("cuda", placement.index) if placement.device == "gpu" else ("cpu", 0)
    homes = {
        node.name: ("cpu", 0) if node.type == "tensor(bfloat16)" else device for node in runtime.get_outputs()
    }

    def compute(names: Sequence[str], feed: Mapping[str, Array], run_options: Any) -> list[Array]:
        inputs = {name: marshal.box(array) for name, array in feed.items()}
        binding = runtime.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in names:
            binding.bind_output(name, *homes[name])
        binding.synchronize_inputs()
        try:
            runtime.run_with_iobinding(binding, run_options)
        except RuntimeError:
            values = runtime.run_with_ort_values(names, inputs, run_options)
        else:
            binding.synchronize_outputs()
            values = binding.get_outputs()
        return [marshal.unbox(value) for value in values]

    return compute
