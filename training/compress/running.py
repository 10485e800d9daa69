"""Running an ONNX file from memory, as little of the machine as is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Feed", "answers", "answers_to", "open_session"]

Array = np.ndarray[Any, np.dtype[Any]]
#: Makes the arrays of a batch, given the numbers of its rows; texts are padded to the longest of them.
Feed = "Callable[[Array], Mapping[str, Array]]"


def open_session(onnx: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a file's content on the CPU.

    Raises:
        TrainingError: If the runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # as a worker has it: workers do not spin and keep no arena
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        cause = str(error).splitlines()[0][:300]
        raise TrainingError(
            "model.onnx",
            f"the ONNX runtime cannot load it ({cause})",
            "export it again, or leave this step out",
        ) from error


def answers(session: onnxruntime.InferenceSession, fed: Mapping[str, Array]) -> dict[str, Array]:
    """Return a session's answers by output; what it does not take is left out."""
    taken = {each.name for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    found = session.run(names, {name: array for name, array in fed.items() if name in taken})
    return dict(zip(names, found, strict=True))


def answers_to(
    session: onnxruntime.InferenceSession,
    feed: Callable[[Array], Mapping[str, Array]],
    rows: Array,
    *,
    size: int = 32,
) -> dict[str, Array]:
    """Return the answers to many rows, batch by batch; open dimensions are filled with zeros."""
    parts: list[Mapping[str, Array]] = [
        answers(session, feed(rows[i : i + size])) for i in range(0, len(rows), size)
    ]
    return {name: _stacked([part[name] for part in parts]) for name in parts[0]}


def _stacked(arrays: Sequence[Array]) -> Array:
    if len({array.shape[1:] for array in arrays}) > 1:
        longest = [max(lengths) for lengths in zip(*(array.shape[1:] for array in arrays), strict=True)]
        arrays = [
            np.pad(
                array,
                [(0, 0), *((0, most - has) for most, has in zip(longest, array.shape[1:], strict=True))],
            )
            for array in arrays
        ]
    return np.concatenate(arrays)
