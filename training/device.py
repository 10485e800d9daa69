"""Where a run computes, and in which arithmetic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from training.errors import TrainingError

if TYPE_CHECKING:
    from training.config import Train

__all__ = ["accelerator", "has_amx", "precision"]

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


def precision(train: Train) -> str:
    """Return the arithmetic of a run: ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        TrainingError: If the wanted device or arithmetic is not there.
    """
    gpu = torch.cuda.is_available()
    if train.device == "cuda" and not gpu:
        raise TrainingError(
            "train.device", "there is no GPU that torch can use", "use device: auto, or mend its driver"
        )
    gpu = gpu and train.device != "cpu"
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
    cpu = train.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(mixed_precision="no" if arithmetic == "fp32" else arithmetic, cpu=cpu)


def _forget() -> None:
    """Let another run of this process have another arithmetic; accelerate keeps one for all."""
    state: Any = AcceleratorState
    state._reset_state(reset_partial_state=True)  # noqa: SLF001 - it has no public way
