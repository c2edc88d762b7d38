"""What came of a study: values of its rows, and whether they are what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kdcli.report.study import StudyRow as ShownRow
from kdcli.studies.form import Study, StudyRow, StudyRun
from kdcli.studies.outcome import Outcome, Results, fill_in, verdict
from kdcli.studies.reading import lay_out


def row(expect: list[float] | None, every: bool = False, value: str = "it.test.errors") -> StudyRow:
    return StudyRow(name="errors", value=value, expect=expect, every=every)


@pytest.mark.parametrize(
    ("expect", "every", "values", "said"),
    [
        ([10, 20], False, [5, 25], "as expected"),  # the mean is 15
        ([10, 20], True, [5, 25], "not reached"),
        ([10, 20], True, [10, 20], "as expected"),
        ([10, 20], False, [20.5], "not reached"),
        ([10, 20], False, [9.5], "not reached"),
        ([10, 20], False, [], "not measured"),
        (None, False, [1], ""),
    ],
)
def test_a_verdict_is_of_the_mean_or_of_every_seed(
    expect: list[float] | None, every: bool, values: list[float], said: str
) -> None:
    assert verdict(row(expect, every), values) == said


def filled(summaries: Sequence[Mapping[str, Any]], *rows: StudyRow) -> list[ShownRow]:
    runs = {"it": StudyRun(command="train-teacher", seeds=len(summaries))}
    study = Study(title="t", source="s", claim="c", runs=runs, rows=list(rows))
    laid_out = lay_out(study, "mine.yaml")
    outcomes = {"it": [Outcome(f"run/{number}", False, summary) for number, summary in enumerate(summaries)]}
    return fill_in(study, Results(laid_out.axes, laid_out.points, outcomes, lambda first, second: 1.0))


def test_a_row_has_a_value_for_every_seed_that_has_one() -> None:
    summaries: list[dict[str, Any]] = [
        {"test": {"errors": 7}, "baseline": {"p_value": 0.5}},
        {"test": {"errors": 9}, "baseline": None},
    ]
    first, second = filled(summaries, row([0, 10]), row([0, 1], value="it.baseline.p_value"))
    assert (first.values, first.verdict) == ([7, 9], "as expected")
    assert (second.values, second.verdict) == ([0.5], "as expected")


def test_numbers_in_lists_are_found_by_their_place() -> None:
    (found,) = filled([{"confusion": [[1, 2], [3, 4]]}], row(None, value="it.confusion.1.0"))
    assert found.values == [3]


def test_a_path_that_leads_to_no_number_is_an_error() -> None:
    for summary in ({"test": {"errors": "many"}}, {"test": {"errors": True}}):
        with pytest.raises(ValueError, match="no number"):
            filled([summary], row(None))
