"""The figures of a study: what is drawn in them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdcli.report.figures import Bar, Series, bars, lines
from kdcli.report.plots import Drawing
from kdcli.studies.address import written
from kdcli.studies.form import StudyFigure, StudyLine, StudyRow
from kdcli.studies.values import Cell, Grid, Source, keys, mean, measure


@dataclass(frozen=True)
class Picture:
    """What a figure shows: lines and the values to compare them with, or bars."""

    lines: Sequence[Series]
    references: Mapping[str, float]
    bars: Sequence[Bar]


def picture(figure: StudyFigure, rows: Sequence[StudyRow], source: Source) -> Picture:
    """What a figure shows.

    Raises:
        ValueError: It names a value or row that is not there, or an axis that has no numbers.
    """
    by_name = {row.name: row for row in rows}
    if unknown := [name for name in figure.bars if name not in by_name]:
        raise ValueError(f"no row is called {unknown[0]!r}")
    series = [one for line in figure.lines for one in _series(figure, line, source)]
    references = {one.name: mean(measure(one.value, source).alone()) for one in figure.references}
    drawn = [_bar(by_name[name], source) for name in figure.bars]
    return Picture(
        [one for one in series if one.x],
        {name: value for name, value in references.items() if value is not None},
        [bar for bar in drawn if bar is not None],
    )


def draw(figure: StudyFigure, shown: Picture, stem: Path) -> Drawing | None:
    """Write a figure as PNG, SVG and CSV; None where there is nothing to draw."""
    if shown.bars:
        return bars(shown.bars, stem, x_label=figure.y_label, title=figure.title)
    if not shown.lines:
        return None
    return lines(
        shown.lines,
        stem,
        x_label=figure.x_label or figure.x,
        y_label=figure.y_label,
        title=figure.title,
        log_x=figure.log_x,
        log_y=figure.log_y,
        references=shown.references,
    )


def _series(figure: StudyFigure, line: StudyLine, source: Source) -> list[Series]:
    if line.value is None:
        cells = [(point.x, measure(point.value, source).alone()) for point in line.points]
        return [_line(line.name, cells)]
    grid = measure(line.value, source)
    places = _numbers(figure.x, grid)
    others = {axis: values for axis, values in grid.axes.items() if axis != figure.x}
    series = []
    for key in keys(others):
        at = dict(zip(others, key, strict=True))
        cells = [(x, grid.at({**at, figure.x: text})) for text, x in places.items()]
        told = [figure.labels.get(text, f"{axis} {text}") for axis, text in at.items()]
        series.append(_line(", ".join([*told, *[line.name] * bool(line.name)]), cells))
    return series


def _numbers(axis: str, grid: Grid) -> dict[str, float]:
    """The places on an axis, by their texts, in ascending order."""
    if axis not in grid.axes:
        raise ValueError(f"{axis!r} is no open axis of a line; open are: {', '.join(grid.axes) or 'none'}")
    try:
        places = {text: float(text) for text in map(written, grid.axes[axis])}
    except ValueError as problem:
        raise ValueError(f"{axis} cannot be drawn along: its values are no numbers") from problem
    return dict(sorted(places.items(), key=lambda place: place[1]))


def _line(name: str, cells: Sequence[tuple[float, Cell]]) -> Series:
    known = [(x, [value for value in cell if value is not None]) for x, cell in cells]
    known = [(x, values) for x, values in known if values]
    several = any(len(values) > 1 for _, values in known)
    deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in known]
    means = [statistics.fmean(values) for _, values in known]
    return Series(name, [x for x, _ in known], means, deviations if several else None)


def _bar(row: StudyRow, source: Source) -> Bar | None:
    values = [value for value in measure(row.value, source).alone() if value is not None]
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Bar(row.name, statistics.fmean(values), deviation, row.paper, row.digits)
