"""The search for alphas: each candidate is tried from the same start, and judged by numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.training.rows import config, sentences
from training import prepare as preparing
from training.device import accelerator as made_accelerator
from training.search import _judged, search

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_scale_for_sixteen_bits_changes_no_candidate_however_many_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale is a power of two: with fp32 arithmetic beneath, it must not show at all.

    Of the GPU's fp16 only the scale is there: it would be undone once for every optimiser so far.
    """

    def scaled(wanted: Any) -> Any:
        accelerator = made_accelerator(wanted)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=10_000)
        accelerator.native_amp = True
        accelerator.state._mixed_precision = "fp16"
        monkeypatch.setattr(accelerator, "prepare_model", lambda model: model)
        return accelerator

    dataset = sentences(64)
    given = config(dataset, dropout=0, balance={"search": 3}, clip=0.5)
    found = []
    for make in (made_accelerator, scaled):
        monkeypatch.setattr(preparing, "made_accelerator", make)
        made = preparing.prepare(
            given, dataset, teacher=None, prefix=tmp_path, model=None, feed=None, report=lambda _: None
        )
        found.append(search(given, [1.0, 1.0, 1.0], made, report=lambda *_: None))
    assert found[0] == found[1]


def test_a_candidate_that_diverged_is_none_and_a_task_without_labels_does_not_count() -> None:
    nan, inf = float("nan"), float("inf")
    tried = [
        ((1.0, 1.0, 1.0), (2.0, 2.0, nan)),
        ((2.0, 0.5, 0.5), (0.1, inf, nan)),
        ((0.5, 2.0, 0.5), (1.0, 2.0, nan)),
    ]
    judged = _judged(tried, [True, True, False])
    assert [each.alphas for each in judged] == [tried[2][0], tried[0][0], tried[1][0]]
    assert [each.score for each in judged[:2]] == [0.75, 1.0]
    assert judged[2].score != judged[2].score
