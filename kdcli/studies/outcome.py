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
    found = [_at(summary, path, row.value) for summary in summaries[name]]
    values = [value for value in found if value is not None]
    return ShownRow(row.name, values, row.paper, verdict(row, values), row.note, row.digits)


def verdict(row: StudyRow, values: Sequence[float]) -> str:
    """``as expected``, ``not reached``, ``not measured`` without values, or nothing where nothing is expected."""
    if row.expect is None:
        return ""
    if not values:
        return "not measured"
    low, high = row.expect
    judged = values if row.every else [statistics.fmean(values)]
    return "as expected" if all(low <= value <= high for value in judged) else "not reached"


def _at(summary: Mapping[str, Any], path: str, whole: str) -> float | None:
    """A number of a summary; None where it does not apply there."""
    value: Any = summary
    for step in path.split("."):
        if isinstance(value, list) and step.isdigit():
            value = dict(enumerate(value)).get(int(step))
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise UsageError(f"{whole} is no number in a run's summary.json", where="rows", fix="name a number there")
    return None if value is None else float(value)
