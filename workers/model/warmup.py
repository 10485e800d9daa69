"""Running a model before it is ready: the first request finds it warm, and a broken model never serves.

It runs on what :mod:`workers.model.samples` makes. Answers are held against the interface: a model whose
outputs differ from what its metadata promises is not ready.

Last it gives the memory back that loading took in passing. glibc keeps it otherwise: a model of 100 MB then
takes about 150 MB instead of 114.
"""

from __future__ import annotations

import ctypes
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError
from protos.tensor import datatype_of
from workers.model.errors import ModelError
from workers.model.samples import samples

if TYPE_CHECKING:
    from protos.tensor import TensorSpec
    from workers.model.samples import Sample
    from workers.model.session import Session

__all__ = ["warm_up"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]


def warm_up(session: Session) -> None:
    """Run the model on its samples and check what it answers.

    Raises:
        ModelError: If a sample cannot be made, the model fails, or an output differs from the interface.
    """
    start = time.monotonic()
    runs = 0
    for sample in samples(session.files, session.spec, session.texts):
        for _ in range(sample.count):
            _run(session, sample)
        runs += sample.count
    _give_back()
    facts = {"model": session.spec.name, "runs": runs, "seconds": round(time.monotonic() - start, 3)}
    _log.info("model warm", extra=facts)


def _give_back() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc has it, musl has not
        libc.malloc_trim(0)


def _run(session: Session, sample: Sample) -> None:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sample.inputs.items())
    try:
        outputs = session.run(sample.inputs)
    except AccordError as error:
        cause = str(error.__cause__ or error).splitlines()[0][:500]
        raise ModelError(
            session.files.path,
            f"failed its warm-up on {sample.source} of shape {shapes} ({cause}); if the model cannot take "
            f"that, {sample.cure} of config.pbtxt",
        ) from error
    for tensor in session.spec.outputs:
        _check(session, tensor, outputs[tensor.name], sample.rows, shapes)


def _check(session: Session, spec: TensorSpec, array: Array, rows: int, shapes: str) -> None:
    path = session.files.path
    if datatype_of(array.dtype) != spec.datatype or not spec.accepts(array.shape):
        raise ModelError(
            path,
            f"promises output {spec.name!r} as {spec.datatype} {list(spec.shape)}, but answered "
            f"{datatype_of(array.dtype)} {list(array.shape)} to {shapes}; mend the export or config.pbtxt",
        )
    if session.spec.batches and array.shape[0] != rows:
        raise ModelError(
            path,
            f"answered {array.shape[0]} rows of {spec.name!r} to {rows}; its first dimension is not the row, "
            "so say max_batch_size: 0 in config.pbtxt",
        )
