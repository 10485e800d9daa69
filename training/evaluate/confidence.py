"""Pictures of how sure a model is: how often it is then right, and what a threshold on it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.evaluate.drawing import FAINT, INK, bar, new, picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from training.evaluate.calibration import Bin
    from training.evaluate.drawing import Picture
    from training.evaluate.findings import Calibration, Cascade

__all__ = ["cascade", "reliability_of"]


def reliability_of(found: Calibration, colour: str) -> Picture:
    """Draw how often answers are right against how sure they are, before and after the temperature."""
    was, is_ = (f"{100 * each.estimate:.1f} %" for each in (found.before, found.after))
    heat = f"temperature {found.temperature.value:.2f}"
    figure, axes = new()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
    _dots(axes, found.bins_before, f"as trained, error {was}", FAINT, "white")
    _dots(axes, found.bins_after, f"{heat}, error {is_}", colour, colour)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("confidence (area of a dot: rows)")
    axes.set_ylabel("share that is right")
    title = f"{found.task}, {found.model}: reliability"
    axes.set_title(title)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    alt = f"{title}: calibration error {was} as trained and {is_} at {heat}"
    return picture(figure, f"reliability-{found.task}-{found.model}", title, alt)


def _dots(axes: Axes, bins: Sequence[Bin], name: str, colour: str, fill: str) -> None:
    """Draw a line through the bins that have rows, and a dot for each."""
    there = [each for each in bins if each.rows]
    most = max((each.rows for each in there), default=1.0)
    sure, right = [each.confidence for each in there], [each.accuracy for each in there]
    axes.plot(sure, right, color=colour, linewidth=1.2, zorder=1)
    axes.scatter(
        sure,
        right,
        s=[14 + 90 * each.rows / most for each in there],
        facecolors=fill,
        edgecolors=colour,
        linewidths=1.2,
        label=name,
        zorder=2,
    )


def cascade(found: Cascade, paint: Mapping[str, str]) -> Picture:
    """Draw the accuracy of both models together against the share of rows that the cheap one answers."""
    figure, axes = new()
    shares = [100 * point.share for point in found.curve]
    heights = [100 * point.accuracy for point in found.curve]
    axes.plot(shares, heights, color=paint[found.cheap], linewidth=1.6, label="both, on validation")
    _alone(axes, found.costly, heights[0], paint[found.costly], left=True)
    _alone(axes, found.cheap, heights[-1], paint[found.cheap], left=False)
    axes.scatter(
        100 * found.chosen.share,
        100 * found.chosen.accuracy,
        color=INK,
        zorder=3,
        s=34,
        label="chosen on validation",
    )
    axes.errorbar(
        100 * found.share,
        100 * found.accuracy.estimate,
        yerr=bar(found.accuracy, 100),
        fmt="D",
        color="#d55e00",
        markersize=5,
        capsize=3,
        zorder=3,
        label="the same threshold on test",
    )
    axes.set_xlabel(f"rows answered by {found.cheap}, %")
    axes.set_ylabel("accuracy, %")
    axes.margins(y=0.2)
    title = f"{found.task}: {found.cheap} first, then {found.costly}"
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    alt = (
        f"{title}: at the threshold {found.chosen.threshold:.2f} {found.cheap} answers "
        f"{100 * found.share:.0f} % of the test rows, and both together are right on "
        f"{100 * found.accuracy.estimate:.1f} %"
    )
    return picture(figure, f"cascade-{found.task}-{found.cheap}-{found.costly}", title, alt)


def _alone(axes: Axes, name: str, height: float, colour: str, *, left: bool) -> None:
    """Draw how good one model is by itself, its name at the side where it answers all rows."""
    axes.axhline(height, color=colour, linewidth=0.9, linestyle=":", zorder=0)
    axes.annotate(
        f"{name} alone",
        (0.0 if left else 1.0, height),
        (3 if left else -3, -11),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left" if left else "right",
        fontsize=8.5,
        color=colour,
    )
