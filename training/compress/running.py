"""Running an ONNX file from memory, as little of the machine as is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["answers", "open_session"]

Array = np.ndarray[Any, np.dtype[Any]]


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
