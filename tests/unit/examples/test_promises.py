"""Promises: all kept in a good run, and each one broken by what breaks it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from rich.console import Console

from examples.demo.plot import save_plot
from examples.demo.promises import promises
from examples.demo.show import as_json, show
from tests.unit.examples.studies import call, comparison, outage, studies

if TYPE_CHECKING:
    from pathlib import Path

    from examples.demo.outage import Outage
    from examples.demo.studies import Studies

LOST = call(1.5, missing="WORKER_CRASHED")


def broken(findings: Studies) -> list[str]:
    return [promise.text for promise in promises(findings) if not promise.kept]


def spoilt(example: str, **changed: Any) -> Studies:
    """Return good findings but for some of one example."""
    good = studies()
    return replace(good, **{example: replace(getattr(good, example), **changed)})


def test_a_good_run_keeps_every_promise() -> None:
    """Nine promises, none broken."""
    assert broken(studies()) == []
    assert len(promises(studies())) == 9


@pytest.mark.parametrize(
    ("happened", "text"),
    [
        (outage(call(0.5), LOST, call(2.0, error="UNAVAILABLE"), call(3.0)), "no call fails"),
        (outage(call(0.5), call(1.5, missing="WORKER_CRASHED", degraded=False), call(3.0)), "say so"),
        (outage(call(0.5), call(1.5, degraded=True), LOST, call(3.0)), "say so"),
        (outage(call(0.5), call(1.5, missing="UNSPECIFIED"), call(3.0)), "name the cause"),
        (outage(call(0.5), LOST), "comes back"),
        (outage(call(0.5), call(3.0)), "say so"),
    ],
    ids=["failed", "silent", "crying wolf", "no cause", "never back", "never missed"],
)
def test_an_outage_that_went_wrong_breaks_its_promise(happened: Outage, text: str) -> None:
    """A failed call, an answer that hides or invents a loss or its cause, a worker that stays away."""
    found = broken(spoilt("digits", outage=happened))
    assert any(text in promise for promise in found)


def test_every_other_finding_can_break_its_promise() -> None:
    """A merge that differs, an ensemble below its best member, a wrong error, a fault that goes unseen."""
    good = studies()
    for example in ("digits", "reviews", "sentiment"):
        other = (replace(getattr(good, example).matches[0], equal=False),)
        assert "equals the same merge" in broken(spoilt(example, matches=other))[0]
    partial = replace(good.digits.outage_match, equal=False)
    assert "mean of the members that are left" in broken(spoilt("digits", outage_match=partial))[0]
    below = comparison("polarity", 59, 60)
    assert "not below its best member" in broken(spoilt("reviews", comparison=below))[0]
    assert "below the best of them" in broken(spoilt("sentiment", comparison=below))[0]
    wrong = (replace(good.reviews.refusals[0], expected=False),)
    assert "exact error" in broken(spoilt("reviews", refusals=wrong))[0]
    for unseen in ((), (replace(good.sentiment.complaints[0], expected=False),)):
        assert "wrong graph" in broken(spoilt("sentiment", complaints=unseen))[0]


def test_being_back_is_counted_from_the_last_answer_that_lacked_the_worker() -> None:
    """A whole answer in between does not count, nor does one that failed."""
    calls = (
        call(0.5),
        LOST,
        call(2.0),
        call(2.5, missing="MEMBER_NOT_READY"),
        call(2.6, error="x"),
        call(4.0),
    )
    assert outage(*calls).back_s == 3.0


def test_the_report_is_plain_json_and_names_every_promise() -> None:
    """It can be written and read, without a row of data in it."""
    report = json.loads(json.dumps(as_json(studies(), promises(studies()))))
    assert len(report["promises"]) == 9
    assert report["digits"]["outage"] == {
        "victim": "digits-svm",
        "killed_s": 1.0,
        "calls": 4,
        "failed": 0,
        "degraded": 1,
        "causes": ["WORKER_CRASHED"],
        "back_s": 2.0,
        "slowest_s": 0.01,
    }
    assert report["reviews"]["comparison"]["claim"].startswith("polarity is better")
    assert report["sentiment"]["wrong_graphs"][0]["expected"]


def test_people_see_accuracies_claims_and_broken_promises() -> None:
    """The ensemble beside its best member, its claim, and BROKEN where a promise was not kept."""
    findings = spoilt("digits", outage=outage(call(0.5), LOST))
    console = Console(file=io.StringIO(), width=200)
    show(console, findings, promises(findings))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert "best (best member)" in text
    assert "cannot be told apart" in text
    assert text.count("BROKEN") == 1


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    """A PNG that opens, wide enough to read, with ink on it."""
    path = tmp_path / "accuracy.png"
    save_plot(path, [studies().digits.comparison, studies().sentiment.comparison])
    with Image.open(path) as picture:
        assert picture.size[0] >= 1000
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 20) or ()) > 10
