"""Runs compared: those that differ in the seed alone are one group, and only settings that differ are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kdcli.report.sweep import SEEDS, deviation, mean
from kdcli.report.sweep_table import errors, spread
from kdcli.report.units import count, decimals, percent, points

Setting = str | int | float | bool | None
Show = Callable[[Sequence[float]], str]
_OF_ONE = ("teacher", "members")
_STAMPED = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


@dataclass(frozen=True)
class Measure:
    """Something that is compared.

    Args:
        name: In JSON and CSV, in full precision.
        title: In tables.
        show: One value, or mean ± standard deviation of several, as text.
        priority: Of its column: up to `MAIN` it stays longest, and the highest goes first where the terminal is narrow.
    """

    name: str
    title: str
    show: Show
    priority: int


def _spread(show: Callable[[float], str]) -> Show:
    return lambda values: spread(values, show)


def _epochs(values: Sequence[float]) -> str:
    return spread(values, lambda value: decimals(value, 0 if len(values) == 1 else 1))


def _nats(value: float) -> str:
    return decimals(value, 4)


def _differences(values: Sequence[float]) -> str:
    """The mean has a sign, its standard deviation has none."""
    sd = deviation(values)
    return points(mean(values)) + ("" if sd is None else f" ± {percent(sd)}")


def _parameters(values: Sequence[float]) -> str:
    return count(values[0]) if len(set(values)) == 1 else spread(values, count)


MAIN = 2
MEASURES = (
    Measure("val_top1", "val top-1 %", _spread(percent), 0),
    Measure("val_top1_best", "best val top-1 %", _spread(percent), 8),
    Measure("val_top1_epoch", "epoch of best", _epochs, 4),
    Measure("val_top1_last", "last val top-1 %", _spread(percent), 7),
    Measure("val_nll", "val NLL", _spread(_nats), 5),
    Measure("val_nll_best", "best val NLL", _spread(_nats), 9),
    Measure("val_nll_epoch", "epoch of best NLL", _epochs, 9),
    Measure("val_nll_last", "last val NLL", _spread(_nats), 9),
    Measure("train_loss_last", "last train loss", _spread(_nats), 9),
    Measure("test_errors", "test errors", errors, 0),
    Measure("test_top1", "test top-1 %", _spread(percent), 1),
    Measure("test_nll", "test NLL", _spread(_nats), 9),
    Measure("test_ece", "test ECE", _spread(_nats), 9),
    Measure("agreement", "agreement %", _spread(percent), 6),
    Measure("teacher_difference", "- teacher", _differences, 2),
    Measure("baseline_difference", "- baseline", _differences, 2),
    Measure("parameters", "parameters", _parameters, 6),
    Measure("seconds", "seconds", _spread(lambda value: decimals(value, 1)), 9),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True)
class ComparedRun:
    """A finished training.

    Args:
        id: What it is called.
        path: Its directory.
        settings: Its configuration, each key with dots.
        measures: What came of it, by the names of `MEASURES`; None where it does not apply.
    """

    id: str
    path: str
    settings: Mapping[str, Setting]
    measures: Mapping[str, float | None]


def _known(runs: Sequence[ComparedRun], name: str) -> list[float]:
    return [value for run in runs if (value := run.measures.get(name)) is not None]


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in the seed alone, each with a seed of its own."""

    runs: list[ComparedRun] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """What the runs have of a measure."""
        return _known(self.runs, name)

    def setting(self, key: str) -> Setting:
        """A setting that its runs share."""
        return self.runs[0].settings.get(key)

    def statistics(self) -> dict[str, dict[str, float | int | None]]:
        """Of each measure that is there, its mean and standard deviation, and over how many runs."""
        known = {measure.name: self.values(measure.name) for measure in MEASURES}
        return {
            name: {"n": len(values), "mean": mean(values), "sd": deviation(values)}
            for name, values in known.items()
            if values
        }


@dataclass(frozen=True)
class Comparison:
    """Groups of runs in the order in which they were named, and the settings in which the groups differ."""

    groups: Sequence[RunGroup]
    differing: Sequence[str]

    @property
    def runs(self) -> list[ComparedRun]:
        """All runs."""
        return [run for group in self.groups for run in group.runs]

    @property
    def alone(self) -> bool:
        """Whether some group is a single run, whose difference from others may be the seed's."""
        return any(len(group.runs) == 1 for group in self.groups)

    def kept(self) -> list[Measure]:
        """The measures of which at least one run has a value."""
        return [measure for measure in MEASURES if any(group.values(measure.name) for group in self.groups)]

    def shown(self) -> list[Measure]:
        """Those that a table needs: without the best or last epoch's where all numbers are of that epoch anyhow."""
        others = [(name, f"{name}_{which}") for name in ("val_top1", "val_nll") for which in ("best", "last")]
        same = {other for name, other in others if self._equal(name, other)}
        return [measure for measure in self.kept() if measure.name not in same]

    def _equal(self, one: str, other: str) -> bool:
        return all(group.values(one) == group.values(other) for group in self.groups)


def compare(runs: Sequence[ComparedRun]) -> Comparison:
    """Group runs, and find what differs.

    A run whose settings and seeds are those of another is a group of its own: the same training twice tells nothing
    about seeds.
    """
    groups: dict[tuple[object, ...], RunGroup] = {}
    for run in runs:
        own = tuple(sorted((key, repr(value)) for key, value in run.settings.items() if key not in SEEDS))
        seeds = _seeds(run)
        place = next(n for n in range(len(runs)) if seeds not in map(_seeds, groups.get((own, n), RunGroup()).runs))
        groups.setdefault((own, place), RunGroup()).runs.append(run)
    found = list(groups.values())
    return Comparison(found, [key for key in _told(runs) if len({repr(group.setting(key)) for group in found}) > 1])


def _told(runs: Sequence[ComparedRun]) -> list[str]:
    """The keys that tell runs apart: not those that only one of the commands has at all."""
    keys = dict.fromkeys(key for run in runs for key in run.settings if key not in SEEDS)
    return [key for key in keys if "." in key or key in _OF_ONE or all(key in run.settings for run in runs)]


def _seeds(run: ComparedRun) -> tuple[Setting, ...]:
    return tuple(run.settings.get(key) for key in SEEDS)


def run_name(path: str) -> str:
    """What a run is called, of its path: what follows from its time stamp on; other texts stay as they are."""
    parts = path.split("/")
    stamped = [index for index, part in enumerate(parts) if _STAMPED.fullmatch(part)]
    return "/".join(parts[stamped[0] :]) if stamped else path


def setting_text(value: Setting, key: str = "") -> str:
    """A setting as it is typed, a teacher by its run's name; nothing where a run does not have it."""
    if value is None:
        return ""
    if key == "teacher":
        return run_name(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Pivot:
    """A measure over two settings: means over all runs of each cell, None where there are none.

    Args:
        measure: What is shown.
        rows: The key of the rows.
        columns: The key of the columns.
        row_values: The rows' values as text, numbers ascending before names.
        column_values: The columns'.
        cells: The values of each cell's runs.
        averaged: Other settings that differ within cells.
    """

    measure: Measure
    rows: str
    columns: str
    row_values: Sequence[str]
    column_values: Sequence[str]
    cells: Sequence[Sequence[Sequence[float]]]
    averaged: Sequence[str]


def pivot(comparison: Comparison, rows: str, columns: str, measure: Measure) -> Pivot:
    """The grid of a measure over two settings."""
    cells: dict[tuple[str, str], list[ComparedRun]] = {}
    for run in comparison.runs:
        place = setting_text(run.settings.get(rows), rows), setting_text(run.settings.get(columns), columns)
        cells.setdefault(place, []).append(run)
    row_values, column_values = (sorted({place[axis] for place in cells}, key=_order) for axis in (0, 1))
    others = [key for key in comparison.differing if key not in (rows, columns)]
    averaged = [
        key
        for key in others
        if any(len({repr(run.settings.get(key)) for run in inside}) > 1 for inside in cells.values())
    ]
    values = [[_known(cells.get((row, column), []), measure.name) for column in column_values] for row in row_values]
    return Pivot(measure, rows, columns, row_values, column_values, values, averaged)


def _order(text: str) -> tuple[bool, float, str]:
    try:
        return (False, float(text), text)
    except ValueError:
        return (True, 0.0, text)
