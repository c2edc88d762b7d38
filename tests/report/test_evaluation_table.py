from __future__ import annotations

from collections.abc import Callable

import pytest

from kdcli.report.evaluation import evaluation_table, measure_rows, most_confused
from kdcli.report.text import width_of
from kdcli.schema.results import Evaluation

Make = Callable[..., Evaluation]


def test_every_measure_of_every_run_is_in_the_table(evaluation: Make) -> None:
    rows = dict(measure_rows(evaluation().runs))
    assert rows["test errors"] == ["74", "75"]
    assert rows["test top-1 %"] == ["99.26", "99.25"]
    assert rows["test agreement %"] == ["", "99.00"]
    assert rows["train errors"] == ["12", "13"]
    assert rows["MACs"] == ["0", "900"]
    assert rows["ms, batch 1 (p50 / p90)"] == ["0.210 / 0.300"] * 2
    assert rows["ms, batch 256 (p50 / p90)"] == ["12.1 / 13.4"] * 2
    expected = {"test top-5 %", "test NLL", "test Brier", "test ECE", "test RMSE", "parameters", "size"}
    assert expected < rows.keys()


def test_runs_stand_side_by_side_where_they_fit_and_below_each_other_where_not(evaluation: Make) -> None:
    names = ("mlp_1200", "mlp_800", "mlp_300")
    wide = evaluation_table(evaluation(names), width=100)
    narrow = evaluation_table(evaluation(names), width=50)
    assert wide.count("test errors") == 1
    assert narrow.count("test errors") == 3
    assert [line.split() for line in wide.split("\n") if line.startswith("test errors")] == [
        ["test", "errors", "74", "75", "76"]
    ]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_lines_fit_the_terminal(evaluation: Make, width: int) -> None:
    text = evaluation_table(evaluation(("mlp_1200", "mlp_800", "lenet")), width=width)
    legend, rest = text.split("\n\n", 1)
    assert len(legend.split("\n")) == 3
    assert max(map(width_of, rest.split("\n"))) <= max(width, 48)


def test_empty_bins_are_left_out_and_others_show_accuracy_minus_confidence(evaluation: Make) -> None:
    text = evaluation_table(evaluation(), width=80)
    assert "50 to 100 %  +0.60 (10,000)" in text
    assert "0 to 50 %" not in text.replace("50 to 100 %", "")


def test_most_confused_pairs_come_by_frequency_and_leave_the_diagonal_out() -> None:
    confusion = [[90, 7, 3], [0, 95, 5], [11, 0, 89]]
    assert most_confused(confusion, 3) == [(2, 0, 11), (0, 1, 7), (1, 2, 5)]
    assert most_confused([[5, 0], [0, 5]], 3) == []


def test_confusions_name_the_classes_and_perfection_is_said(evaluation: Make) -> None:
    some = evaluation(("net",))
    assert "1  9 as 4: 11,  4 as 7: 7,  7 as 9: 5,  4 as 9: 3" in evaluation_table(some, width=80)
    perfect = some.runs[0].model_copy(update={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]})
    assert "1  0 errors" in evaluation_table(some.model_copy(update={"runs": [perfect]}), width=80)


def test_an_ensemble_says_of_how_many(evaluation: Make) -> None:
    some = evaluation(("net",))
    ensemble = some.runs[0].model_copy(update={"members": 10})
    assert "1: 10 x net" in evaluation_table(some.model_copy(update={"runs": [ensemble]}), width=80)


def test_hostile_names_of_runs_and_classes_are_inert(evaluation: Make, hostile: str) -> None:
    text = evaluation_table(evaluation((hostile, "net"), (hostile, "7", "9")), width=80)
    assert all(line.isprintable() for line in text.split("\n"))
