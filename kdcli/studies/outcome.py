"""What came out of a study: its rows and figures, filled in from the results of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcli.report.study import StudyRow as ShownRow
from kdcli.studies.form import Study, StudyRow
from kdcli.studies.paths import number_at
from kdcli.studies.points import Axes, Point
from kdcli.studies.values import measure


@dataclass(frozen=True)
class Outcome:
    """One point of a run: what it came to.

    Args:
        run: The run's directory.
        reused: Another study, or the user, had trained it.
        result: Its summary, or what an evaluation says of it.
    """

    run: str
    reused: bool
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """A study that has been run: a source of its numbers.

    Args:
        axes: Of each run.
        points: Of each run.
        outcomes: Of each run, one a point.
        compare: The p of McNemar's test between two run directories.
    """

    axes: Mapping[str, Axes]
    points: Mapping[str, Sequence[Point]]
    outcomes: Mapping[str, Sequence[Outcome]]
    compare: Callable[[str, str], float]

    def number(self, run: str, place: int, path: Sequence[str]) -> float | None:
        """A number of a point's result."""
        return number_at(self.outcomes[run][place].result, path)

    def mcnemar(self, first: tuple[str, int], second: tuple[str, int]) -> float:
        """The p of McNemar's exact test between two points."""
        return self.compare(*(self.outcomes[run][place].run for run, place in (first, second)))


def fill_in(study: Study, results: Results) -> list[ShownRow]:
    """Each row with its values, one a seed, and whether they are what was expected."""
    return [_filled(row, results) for row in study.rows]


def _filled(row: StudyRow, results: Results) -> ShownRow:
    values = [value for value in measure(row.value, results).alone() if value is not None]
    return ShownRow(row.name, values, row.paper, verdict(row, values), row.note, row.digits, row.why)


def verdict(row: StudyRow, values: Sequence[float]) -> str:
    """``as expected``, ``not reached``, ``not measured`` without values, or nothing where nothing is expected."""
    if row.expect is None:
        return ""
    if not values:
        return "not measured"
    low, high = row.expect
    judged = values if row.every else [statistics.fmean(values)]
    return "as expected" if all(low <= value <= high for value in judged) else "not reached"
