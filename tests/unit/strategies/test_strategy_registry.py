from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from accord.strategy import StrategyError
from accord.testing import check_strategy
from gateway.strategies.registry import build, kinds, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUILT_IN = {
    "first", "geometric_mean", "max", "mean", "median", "min",
    "rank_fusion", "soft_vote", "tasks", "trimmed_mean", "vote", "weighted_mean",
}  # fmt: skip

MIDRANGE = """
from typing import ClassVar

from accord.strategy import Elementwise, fold
import numpy as np


class Midrange(Elementwise):
    kind: ClassVar[str] = "midrange"

    def merge(self, values, weights):
        low, high = fold(np.minimum, values, weights), fold(np.maximum, values, weights)
        exact = (low.astype(np.longdouble) + high.astype(np.longdouble)) / 2
        return np.clip(exact, low.astype(np.longdouble), high.astype(np.longdouble)).astype(low.dtype)


class Impostor(Midrange):
    kind: ClassVar[str] = "somebody_else"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a distribution with strategies of its own on the path, as an installer would."""
    (tmp_path / "midrange_pkg").mkdir()
    (tmp_path / "midrange_pkg" / "__init__.py").write_text(MIDRANGE)
    info = tmp_path / "midrange_pkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: midrange-pkg\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield info / "entry_points.txt"
    sys.modules.pop("midrange_pkg", None)


def offer(entry_points: Path, *lines: str) -> None:
    entry_points.write_text("\n".join(["[accord.strategies]", *lines]))


def test_the_built_in_kinds_are_found_by_entry_point() -> None:
    """Every one that the documentation lists, and sorted."""
    assert set(kinds()) >= BUILT_IN
    assert list(kinds()) == sorted(kinds())
    assert all(load(kind).kind == kind for kind in BUILT_IN)


def test_a_foreign_strategy_installs_by_entry_point_and_passes_the_laws(install: Path) -> None:
    """A package and its metadata are all it takes; built-in and foreign kinds take the same path."""
    offer(install, "midrange = midrange_pkg:Midrange")
    assert "midrange" in kinds()
    check_strategy(load("midrange"))
    assert build("midrange", {"output": "y"}).kind == "midrange"


def test_an_unknown_kind_lists_the_known_ones_and_the_closest() -> None:
    """So that a typing error is mended without the documentation."""
    with pytest.raises(
        StrategyError, match=r"unknown strategy 'meen' \(did you mean 'mean'\?\); known are first, "
    ):
        load("meen")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("broken = midrange_pkg.missing:X", "'broken' of midrange-pkg cannot be loaded"),
        ("broken = midrange_pkg:Missing", "'broken' of midrange-pkg cannot be loaded"),
        ("broken = midrange_pkg:np", "midrange_pkg:np is not a Strategy class"),
        ("broken = midrange_pkg:Impostor", "calls itself 'somebody_else'"),
    ],
)
def test_a_bad_offer_is_refused_with_its_distribution(install: Path, line: str, said: str) -> None:
    """Whoever installed it must know what to uninstall."""
    offer(install, line)
    with pytest.raises(StrategyError, match=said):
        load("broken")


def test_nobody_replaces_a_strategy_silently(install: Path) -> None:
    """Two offers of one kind: which one wins must not depend on the path."""
    offer(install, "mean = midrange_pkg:Midrange")
    with pytest.raises(
        StrategyError, match=r"'mean' is offered twice: .*accord-gateway.* and .*midrange-pkg"
    ):
        load("mean")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("trimmed_mean", {"trimm": 0.1}, r"no option 'trimm' \(did you mean 'trim'\?\); it has output, trim"),
        ("tasks", {"output": "y"}, "tasks has no option 'output'; it has prefix"),
        (
            "trimmed_mean",
            {"trim": 0.7},
            r"option 'trim' of trimmed_mean: input should be less than 0.5 \(got 0.7\); it is the share of",
        ),
        (
            "rank_fusion",
            {"k": "60"},
            r"option 'k' of rank_fusion: input should be a valid integer \(got '60'\)",
        ),
        ("rank_fusion", {"method": "condorcet"}, "option 'method' .*'reciprocal_rank' or 'borda'"),
        ("rank_fusion", {"k": 0, "top": 0}, "option 'k' .*; option 'top' "),
        ("geometric_mean", {"epsilon": -0.1}, "greater than or equal to 0"),
    ],
)
def test_a_bad_option_is_named_with_problem_and_meaning(
    kind: str, options: dict[str, object], said: str
) -> None:
    """Plain text, one sentence for each option; no trace of the validating library."""
    with pytest.raises(StrategyError, match=said) as caught:
        build(kind, options)
    assert "pydantic" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_have_a_description_each() -> None:
    """It is what messages and the config's schema say of them."""
    for kind in BUILT_IN:
        for name, option in load(kind).Options.model_fields.items():
            assert option.description, f"{kind}.{name}"
