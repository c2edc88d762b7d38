"""What accuracy costs: networks over their parameters, multiplications, bytes and time, the Pareto fronts marked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.plots import BLACK, BLUE, ORANGE, RED, Cell, Drawing, finish, label, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {"student": (BLUE, "o"), "network": (BLUE, "o"), "baseline": (ORANGE, "s"), "teacher": (RED, "^")}
_SIZES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_FEW_DECADES = 30.0
_LINEAR = 4.0
_NAME = 22


@dataclass(frozen=True)
class Priced:
    """A network, how good it is and what it costs.

    Args:
        name: Its name.
        kind: student, network, baseline or teacher.
        top1: Top-1 on test of each seed, fractions.
        parameters: How many it has.
        macs: Multiplications for one example; None where nobody counted them.
        bytes: Its size.
        seconds: Median time for one example; None where it was not measured.
    """

    name: str
    kind: str
    top1: Sequence[float]
    parameters: int
    macs: int | None
    bytes: int
    seconds: float | None

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, in percent."""
        return 100 * statistics.fmean(self.top1)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds, in points; None of a single one."""
        return 100 * statistics.stdev(self.top1) if len(self.top1) > 1 else None


_COSTS: Sequence[tuple[str, Callable[[Priced], float]]] = (
    ("parameters", lambda one: one.parameters),
    ("multiplications for one example", lambda one: math.nan if one.macs is None else one.macs),
    ("bytes", lambda one: one.bytes),
    ("ms for one example", lambda one: math.nan if one.seconds is None else 1000 * one.seconds),
)


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of the points (cost, gain) no other one beats: none is as cheap and better, or as good and cheaper."""
    return [
        not any(other[0] <= cost and other[1] >= gain and other != (cost, gain) for other in points)
        for cost, gain in points
    ]


def worth_drawing(points: Sequence[Priced]) -> bool:
    """Whether networks of several sizes are compared, teachers and baselines apart."""
    return len({one.parameters for one in points if one.kind in ("student", "network")}) > 1


def tradeoff(points: Sequence[Priced], stem: Path) -> Drawing:
    """Top-1 on test over each cost, on logarithmic scales; a line joins the networks that no other one beats.

    Args:
        points: The networks.
        stem: The path without suffix.
    """
    from matplotlib.figure import Figure

    costs = [(title, cost) for title, cost in _COSTS if not any(math.isnan(cost(one)) for one in points)]
    with styled():
        figure = Figure(figsize=(9.0, 7.2), dpi=150, layout="constrained")
        axes = figure.subplots(2, 2, sharey=True).flatten()
        fronts = [pareto([(cost(one), one.accuracy) for one in points]) for _, cost in costs]
        for one, (title, cost), front in zip(axes, costs, fronts, strict=False):
            _draw(one, points, cost, front)
            finish(one, title, "top-1 on test, %", "", legend=False)
        axes[0].legend(loc="lower right")
        for unused in axes[len(costs) :]:
            unused.set_visible(False)
        rows = [_row(one, costs, [front[k] for front in fronts]) for k, one in enumerate(points)]
        return write(figure, stem, _header(costs), rows)


def _draw(axes: Axes, points: Sequence[Priced], cost: Callable[[Priced], float], front: Sequence[bool]) -> None:
    best = sorted((cost(one), one.accuracy) for one, on in zip(points, front, strict=True) if on)
    axes.plot(*zip(*best, strict=True), color=BLACK, linewidth=1, linestyle=":", label="Pareto front", zorder=1)
    for kind in _LOOKS:
        color, marker = _LOOKS[kind]
        shown = [one for one in points if one.kind == kind]
        if shown:
            spread = [one.deviation or 0.0 for one in shown]
            places = [cost(one) for one in shown], [one.accuracy for one in shown]
            axes.errorbar(*places, yerr=spread, color=color, fmt=marker, label=kind, elinewidth=1.3)
    costs = [cost(one) for one in points]
    middle = _scale(axes, costs)
    for one, on in zip(points, front, strict=True):
        if on:
            _name_it(axes, one, cost(one), left=cost(one) > middle)


def _name_it(axes: Axes, one: Priced, place: float, *, left: bool) -> None:
    """Write a name beside its point, on the side where there is room."""
    axes.annotate(
        label(one.name, _NAME),
        (place, one.accuracy),
        xytext=(-7 if left else 7, 5 if left else -5),
        textcoords="offset points",
        ha="right" if left else "left",
        va="bottom" if left else "top",
        fontsize=8,
    )


def _scale(axes: Axes, costs: Sequence[float]) -> float:
    """Spread the costs, by their logarithms where they are far apart; returns the middle."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.margins(x=0.16, y=0.12)
    low, high = min(costs), max(costs)
    if high < _LINEAR * low:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < _FEW_DECADES * low else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    return (low + high) / 2 if high < _LINEAR * low else math.sqrt(low * high)


def _short(value: float) -> str:
    """A number with its thousands as k, M or G: ``24.8k``."""
    for unit, letter in _SIZES:
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


_Costs = Sequence[tuple[str, Callable[[Priced], float]]]


def _header(costs: _Costs) -> list[str]:
    titles = [title for title, _ in costs]
    fronts = [f"on the front of {title}" for title in titles]
    return ["network", "kind", "top-1 on test, %", "standard deviation", *titles, *fronts]


def _row(one: Priced, costs: _Costs, fronts: Sequence[bool]) -> list[Cell]:
    shown = [cost(one) for _, cost in costs]
    return [one.name, one.kind, one.accuracy, one.deviation, *shown, *("yes" if on else "no" for on in fronts)]
