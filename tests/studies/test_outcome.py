"""What came of a study: values of its rows, and whether they are what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from kdcli.errors import UsageError
from kdcli.studies.form import Study, StudyRow, StudyRun
from kdcli.studies.outcome import fill_in, verdict


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


def study(*rows: StudyRow) -> Study:
    return Study(title="t", source="s", claim="c", runs={"it": StudyRun(command="train-teacher")}, rows=list(rows))


def test_a_row_has_a_value_for_every_seed_that_has_one() -> None:
    summaries: list[dict[str, Any]] = [
        {"test": {"errors": 7}, "baseline": {"p_value": 0.5}},
        {"test": {"errors": 9}, "baseline": None},
    ]
    first, second = fill_in(study(row([0, 10]), row([0, 1], value="it.baseline.p_value")), {"it": summaries})
    assert (first.values, first.verdict) == ([7, 9], "as expected")
    assert (second.values, second.verdict) == ([0.5], "as expected")


def test_a_path_that_leads_to_no_number_is_an_error() -> None:
    for summary in ({"test": {"errors": "many"}}, {"test": {"errors": True}}):
        with pytest.raises(UsageError, match="no number"):
            fill_in(study(row(None)), {"it": [summary]})
