"""Where a run computes, and in which arithmetic."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.config import Train

__all__ = ["accelerator", "enough_memory", "has_amx", "on_gpu", "precision"]

_CPUINFO = Path("/proc/cpuinfo")


def has_amx(cpuinfo: str | None = None) -> bool:
    """Tell whether the CPU multiplies bf16 matrices in hardware; without it bf16 is slower than fp32.

    Args:
        cpuinfo: What the kernel says of the CPU; default: of this one.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text("utf-8", "replace") if _CPUINFO.exists() else ""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return "amx_bf16" in flags.split()


def on_gpu(train: Train) -> bool:
    """Tell whether a run computes on GPUs; each of its processes has one of its own.

    Raises:
        TrainingError: If GPUs are wanted that are not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if train.device == "cuda" and not count:
        raise TrainingError(
            "train.device", "there is no GPU that torch can use", "use device: auto, or mend its driver"
        )
    if train.device == "cuda" and count < train.processes:
        raise TrainingError(
            "train.processes",
            f"{train.processes} processes want a GPU each, and there are {count}",
            f"use at most {count}, or device: cpu",
        )
    return train.device != "cpu" and count >= train.processes


@contextmanager
def enough_memory() -> Iterator[None]:
    """Name it if the GPU's memory is too small for what a block does.

    Raises:
        TrainingError: If it is.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise TrainingError(
            "the GPU",
            "has not enough memory for the model and its answers",
            "use a smaller encoder or data.max_length, end what else runs there, or use train.device: cpu",
        ) from None


def precision(train: Train) -> str:
    """Return the arithmetic of a run: ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        TrainingError: If the wanted device or arithmetic is not there.
    """
    gpu = on_gpu(train)
    if train.precision == "fp16" and not gpu:
        raise TrainingError("train.precision", "fp16 needs a GPU", "use auto")
    if train.precision != "auto":
        return train.precision
    fit = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else has_amx()
    return "bf16" if fit else "fp32"


def accelerator(train: Train) -> Accelerator:
    """Return what knows device, arithmetic and processes.

    Raises:
        TrainingError: Likewise.
    """
    arithmetic = precision(train)
    threads = train.threads or max(1, (os.cpu_count() or 1) // train.processes)
    torch.set_num_threads(threads)
    if train.processes == 1:
        _forget()
    else:  # or accelerate chooses a number of its own, and says so in every process
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return Accelerator(mixed_precision="no" if arithmetic == "fp32" else arithmetic, cpu=not on_gpu(train))


def _forget() -> None:
    """Let another run of this process have another arithmetic; accelerate keeps one for all."""
    state: Any = AcceleratorState
    state._reset_state(reset_partial_state=True)  # noqa: SLF001 - it has no public way
