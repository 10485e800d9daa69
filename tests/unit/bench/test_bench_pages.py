"""Figures in the documentation: what is rewritten, what is left alone, and the command of every claim."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from bench import BenchFailed, pages
from bench.cases import CASES, QUICK_CASES, case
from bench.show import between_markers

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "<!-- x: begin -->", "<!-- x: end -->"
CLAIM = {"text": "fast", "bound": 4.0, "at_least": True, "unit": "times", "holds": False}
FOUND = {"median": 3.0, "low": 2.0, "high": 5.0}


def saved(name: str, **more: Any) -> dict[str, Any]:
    machine = {"cpu": "Z80", "cpus": 1, "others": 0.0, "python": "3", "libraries": {}}
    table = {"title": "T", "columns": ["a", "b"], "rows": [["1", "2"]], "numbers": 1, "notes": ["lost\nit"]}
    return {
        "case": name,
        "command": f"python -m bench {name}",
        "quick": False,
        "machine": machine,
        "how": "Well.",
        "tables": [table],
        "claims": [{**CLAIM, "found": FOUND}],
        **more,
    }


def test_only_what_is_between_the_markers_changes() -> None:
    """Text before and after stays byte for byte, and writing twice is writing once."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = between_markers(page, "x", "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_markers(once, "x", "new") == once


@pytest.mark.parametrize(
    "page", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"], ids=str
)
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    """Figures are never written where nobody asked for them."""
    with pytest.raises(BenchFailed, match="needs"):
        between_markers(page, "x", "new")


def test_a_claim_stands_beside_its_command_and_its_figure() -> None:
    """So does one that does not hold, or was not measured."""
    rows = pages.claims([saved("tiny"), saved("peers", claims=[{**CLAIM, "found": None, "holds": None}])])
    missed, unknown = rows.splitlines()[2:]
    assert missed == "| fast | at least 4 times | 3.00 (2.00-5.00) | **no** | `python -m bench tiny` |"
    assert unknown == "| fast | at least 4 times |  | not measured | `python -m bench peers` |"


def test_figures_of_a_quick_run_are_marked() -> None:
    """They show that the bench works; nobody shall quote them."""
    assert "quote no figures" in pages.section(saved("tiny", quick=True), "x", [])
    assert "quote no figures" not in pages.section(saved("tiny"), "x", [])


def test_a_page_is_written_from_reports_and_plots(tmp_path: Path) -> None:
    """Tables, notes and plots of all cases arrive; plots of a former run go."""
    out, page = tmp_path / "out", tmp_path / "docs" / "benchmarks.md"
    for folder in (out, page.parent):
        folder.mkdir()
    for name in CASES:
        (out / f"{name}.json").write_text(json.dumps(saved(name)))
        (out / f"{name}.png").touch()
    (page.parent / "bench-profile-old.svg").touch()
    page.write_text("\n".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->" for name in ("claims", *CASES)))
    pages.write(out, page)
    text = page.read_text()
    assert text.count("| 1 | 2 |") == len(CASES)
    assert "- lost it" in text
    assert not (page.parent / "bench-profile-old.svg").exists()
    assert all((page.parent / name).exists() for name in re.findall(r"\]\((bench-[^)]*)\)", text))


def test_a_case_that_was_not_measured_is_named(tmp_path: Path) -> None:
    """With the command that measures it."""
    with pytest.raises(BenchFailed, match=f"python -m bench {CASES[0]}"):
        pages.write(tmp_path)


def test_every_command_on_the_page_names_a_case() -> None:
    """The page has a place for each case, and no command that does not exist."""
    text = pages.PAGE.read_text("utf-8")
    assert set(re.findall(r"python -m bench ([a-z]+)", text)) <= set(CASES)
    assert all(text.count(f"<!-- {name}: begin -->") == 1 for name in ("claims", *CASES))


@pytest.mark.parametrize("name", CASES)
def test_every_case_says_what_it_is(name: str) -> None:
    """In one line, for ``--list``."""
    assert 0 < len(case(name).TEXT) < 100
    assert set(QUICK_CASES) <= set(CASES)
