"""Damaged ONNX files are refused or pass, and do nothing else."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import models
from workers.model.errors import ModelError
from workers.model.files import integrity
from workers.model.repository import find

MODELS = [
    models.linear(np.ones((2, 3))),
    models.slow(),
    models.external_data("w.bin"),
    models.identity(["BYTES", "FP32"]),
]


def survives(model: bytes) -> bool:
    """Tell whether a file passes; anything but a verdict is an error of ours."""
    with TemporaryDirectory() as folder:
        files = find(models.write_model(Path(folder), "m", model), "m")
        (files.path.parent / "w.bin").write_bytes(bytes(8))
        try:
            integrity.check(files)
        except ModelError as error:
            assert "\n" not in error.cause
            return False
        return True


def test_the_whole_files_pass() -> None:
    """The other properties begin with files that are in order."""
    assert all(map(survives, MODELS))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_crash_nothing(model: bytes, flips: list[tuple[int, int]]) -> None:
    """Whatever bytes change, the answer is a pass or our refusal."""
    changed = bytearray(model)
    for at, mask in flips:
        changed[at % len(changed)] ^= mask
    survives(bytes(changed))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MODELS), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_crashes_nothing(model: bytes, part: float) -> None:
    """Wherever a copy breaks off, the answer is a pass or our refusal."""
    survives(model[: max(1, int(len(model) * part))])


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_noise_crashes_nothing(noise: bytes) -> None:
    """Bytes of any other origin are answered like any other file."""
    survives(noise)
