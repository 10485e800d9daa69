"""What the trained model says of the training rows, asked once for all students.

It is kept in the run's folder as ``teacher.safetensors``, bound to the teacher's file and to the rows as it
reads them: of another teacher, or other rows, it is asked anew.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from training.compress.scores import raw_scores
from training.data import Kind, Part
from training.files import written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.compress.trained import Trained
    from training.compress.variant import Variant

__all__ = ["FILE", "taught"]

Array = np.ndarray[Any, np.dtype[Any]]

FILE = "teacher.safetensors"
#: Below it, probabilities of fp32 are 0 or 1 for scores that are no further apart than is common.
_COLD = 0.5


def taught(trained: Trained, teacher: Variant) -> dict[str, Array]:
    """Return the trained model's raw scores by task, of every row; of rows that nobody trains on, zeros.

    Args:
        trained: The trained model.
        teacher: Its file.

    Raises:
        TrainingError: If they cannot be kept.
    """
    tasks = [head.task for head in teacher.heads if head.kind is not Kind.SPAN]
    if not tasks:
        return {}
    rows, path = trained.dataset.rows(Part.TRAIN), trained.run / FILE
    bound = {
        "teacher": sha256(teacher.onnx).hexdigest(),
        "rows": sha256(trained.model.feed(trained.dataset).digest.encode() + rows.tobytes()).hexdigest(),
    }
    found = _kept(path, bound, tasks, len(rows))
    if found is None:
        trained.tell("asking the teacher about the training rows")
        found = {task: each.astype(np.float32) for task, each in _asked(trained, teacher, rows).items()}
        written(path, save({task: np.ascontiguousarray(found[task]) for task in tasks}, bound))
    whole = {}
    for task in tasks:
        whole[task] = np.zeros((len(trained.dataset), *found[task].shape[1:]), np.float32)
        whole[task][rows] = found[task]
    return whole


def _asked(trained: Trained, teacher: Variant, rows: Array) -> dict[str, Array]:
    if min(head.temperature for head in teacher.heads) < _COLD:
        return raw_scores(trained.model, trained.dataset, rows, report=trained.counted("teacher"))
    # by its file, which is faster than torch; a score is known but for what all classes share
    found = trained.scores(teacher.onnx, teacher.heads, rows, "teacher")
    return {head.task: found[head.task] * head.temperature for head in teacher.heads}


def _kept(path: Path, bound: Mapping[str, str], tasks: Sequence[str], count: int) -> dict[str, Array] | None:
    """Return what is kept, if it is of this teacher and these rows."""
    try:
        with safe_open(path, framework="numpy") as file:
            if file.metadata() != bound:
                return None
            found = {task: file.get_tensor(task) for task in tasks}
    except (OSError, SafetensorError):
        return None
    return found if all(len(each) == count for each in found.values()) else None
