"""What came out of a study: its rows, filled in from the summaries of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdcli.errors import UsageError
from kdcli.report.study import StudyRow as ShownRow
from kdcli.studies.form import Study, StudyRow

Summaries = Mapping[str, Sequence[Mapping[str, Any]]]


def fill_in(study: Study, summaries: Summaries) -> list[ShownRow]:
    """Each row with its values, one a seed, and whether they are what was expected.

    Args:
        study: The study.
        summaries: The summaries of each run, one a seed.
    """
    return [_filled(row, summaries) for row in study.rows]


def _filled(row: StudyRow, summaries: Summaries) -> ShownRow:
    name, _, path = row.value.partition(".")
    values = [_at(summary, path, row.value) for summary in summaries[name]]
    return ShownRow(row.name, values, row.paper, verdict(row, values), row.note, row.digits)


def verdict(row: StudyRow, values: Sequence[float]) -> str:
    """``as expected``, ``not reached``, or nothing where nothing is expected."""
    if row.expect is None:
        return ""
    low, high = row.expect
    judged = values if row.every else [statistics.fmean(values)]
    return "as expected" if all(low <= value <= high for value in judged) else "not reached"


def _at(summary: Mapping[str, Any], path: str, whole: str) -> float:
    value: Any = summary
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float):
        raise UsageError(
            f"{whole} is no number in the run's summary.json", where="rows", fix="look at the run's summary.json"
        )
    return float(value)
