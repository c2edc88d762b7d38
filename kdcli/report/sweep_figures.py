"""A sweep drawn: a heatmap over two of its keys, or points over one; validation, and test errors beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdcli.report.figures import Bar, Series, heatmap, lines
from kdcli.report.heat import side_by_side, terminal_heatmap
from kdcli.report.plots import Drawing
from kdcli.report.sweep import SweepGroup, SweepRow, deviation, known, mean, rank, reference_lines
from kdcli.report.sweep_dots import dots
from kdcli.report.sweep_grid import Grid, grid_note, grid_of, line_key, number, swept_values
from kdcli.report.text import wrap

_LOG_RATIO = 10.0


@dataclass(frozen=True)
class Measure:
    """What is drawn.

    Args:
        name: Of `Numbers`.
        title: What the numbers are.
        stem: Added to the names of its files.
        scale: From the measure to what is shown.
        digits: Decimals, and one more for means over seeds where it counts whole things.
        chooses: It is what settings are ranked by.
    """

    name: str
    title: str
    stem: str
    scale: float
    digits: int
    chooses: bool

    def heading(self, groups: Sequence[SweepGroup]) -> str:
        """The title, and what to say beside it."""
        seeds = {len(group.rows) for group in groups}
        means = f"mean of {max(seeds)} seeds" if len(seeds) == 1 else "mean over seeds"
        said = [means] * (max(seeds) > 1) + ["not to choose by"] * (not self.chooses)
        return f"{self.title} ({', '.join(said)})" if said else self.title


_VALIDATION = Measure("val_top1", "top-1 on validation, %", "", 100.0, 2, chooses=True)
_TEST = Measure("test_errors", "test errors", "-test", 1.0, 0, chooses=False)


def _measures(rows: Sequence[SweepRow]) -> list[Measure]:
    """Those that finished jobs have: of validation only where it ranks them."""
    groups = rank(rows)
    found = [_VALIDATION] * any(group.rank for group in groups)
    return [*found, _TEST] if groups else []


def _digits(measure: Measure, groups: Sequence[SweepGroup]) -> int:
    return measure.digits + (measure.digits == 0 and any(len(group.rows) > 1 for group in groups))


def terminal_grid(rows: Sequence[SweepRow], *, color: bool, width: int) -> str | None:
    """The grid in a terminal, side by side where the width allows; None where there is nothing to say.

    Args:
        rows: The jobs in grid order.
        color: Lay colours behind the numbers.
        width: Columns of the terminal.
    """
    grid = grid_of(rows)
    note = wrap(grid_note(rows), width)
    if grid is None:
        return note or None
    blocks = [_terminal_block(grid, measure, color, width) for measure in _measures(rows)]
    return "\n\n".join([side_by_side(blocks, width), *[note] * bool(note)])


def _terminal_block(grid: Grid, measure: Measure, color: bool, width: int) -> str:
    drawn = terminal_heatmap(
        grid.means(measure.name, measure.scale),
        x_values=grid.x_values,
        y_values=grid.y_values,
        x_label=grid.x_key,
        y_label=grid.y_key,
        digits=_digits(measure, grid.groups()),
        best=grid.best if measure.chooses else None,
        less_is_better=not measure.chooses,
        color=color,
        width=width,
    )
    return f"{wrap(measure.heading(grid.groups()), width)}\n{drawn}"


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows."""

    caption: str
    drawing: Drawing


def draw_sweep(rows: Sequence[SweepRow], folder: Path) -> list[Picture]:
    """Draw what can be drawn of a sweep, as PNG, SVG and CSV.

    Args:
        rows: The jobs in grid order.
        folder: Where the files go: ``heatmap`` and ``heatmap-test``, or ``points`` and ``points-test``.
    """
    grid = grid_of(rows)
    key = line_key(rows)
    if grid is not None:
        return [Picture(measure.title, _draw_grid(grid, measure, folder)) for measure in _measures(rows)]
    if key is None:
        return []
    return [Picture(measure.title, _draw_points(rows, key, measure, folder)) for measure in _measures(rows)]


def _draw_grid(grid: Grid, measure: Measure, folder: Path) -> Drawing:
    return heatmap(
        grid.means(measure.name, measure.scale),
        folder / f"heatmap{measure.stem}",
        x_values=grid.x_values,
        y_values=grid.y_values,
        x_label=grid.x_key,
        y_label=grid.y_key,
        title=measure.heading(grid.groups()),
        unit=measure.title,
        sd=grid.deviations(measure.name, measure.scale),
        digits=_digits(measure, grid.groups()),
        best=grid.best if measure.chooses else None,
        less_is_better=not measure.chooses,
    )


def _draw_points(rows: Sequence[SweepRow], key: str, measure: Measure, folder: Path) -> Drawing:
    """A line where all values are numbers, else a dot each, with what they are compared with."""
    groups = {group.overrides[key]: group for group in rank(rows)}
    shown = [groups[value] for value in swept_values(rows)[key] if value in groups]
    places = [place for group in shown if (place := number(group.overrides[key])) is not None]
    title = measure.heading(shown)
    stem, references = folder / f"points{measure.stem}", _references(rows, measure)
    digits = _digits(measure, shown)
    bars = [_bar(group.overrides[key], group, measure, digits) for group in shown]
    baselines = [] if "baseline" in references else [_baseline(group, measure) for group in shown]
    if len(places) < len(shown):
        return dots(
            bars,
            stem,
            x_label=measure.title,
            y_label=key,
            title=title,
            baselines=baselines if any(baselines) else (),
            references=references,
        )
    series = [_series("student" if any(row.teacher for row in rows) else "network", places, bars)]
    if any(baselines):
        pairs = [(place, value) for place, value in zip(places, baselines, strict=True) if value is not None]
        series.append(Series("baseline", [place for place, _ in pairs], [value for _, value in pairs]))
    log = min(places) > 0 and max(places) > _LOG_RATIO * min(places)
    return lines(series, stem, x_label=key, y_label=measure.title, title=title, log_x=log, references=references)


def _series(name: str, places: Sequence[float], bars: Sequence[Bar]) -> Series:
    spread = [bar.sd or 0.0 for bar in bars] if any(bar.sd is not None for bar in bars) else None
    return Series(name, places, [bar.value for bar in bars], spread)


def _bar(value: str, group: SweepGroup, measure: Measure, digits: int) -> Bar:
    values = [measure.scale * each for each in group.values(measure.name)]
    average = mean(values)
    assert average is not None
    return Bar(value, average, deviation(values), digits=digits)


def _baseline(group: SweepGroup, measure: Measure) -> float | None:
    """The mean of a setting's own baselines."""
    average = mean(known(measure.name, [row.baseline.numbers for row in group.rows if row.baseline is not None]))
    return None if average is None else measure.scale * average


def _references(rows: Sequence[SweepRow], measure: Measure) -> dict[str, float]:
    """What all settings are compared with."""
    means = {line.kind: mean(line.values(measure.name)) for line in reference_lines(rows) if not line.overrides}
    return {kind: measure.scale * value for kind, value in means.items() if value is not None}
