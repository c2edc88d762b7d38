from __future__ import annotations

import re

import pytest

from kdcli.report.study import StudyRow, study_cells, study_markdown, study_table

ROWS = [
    StudyRow("teacher", [70, 74, 78], 67, "close", "jitter of two pixels", why="3 seeds"),
    StudyRow("student", [98], 74, "worse"),
    StudyRow("seconds", [5.25], None, digits=2),
]


def test_each_row_compares_our_mean_with_the_paper() -> None:
    lines = study_table(ROWS, width=80).split("\n")
    # 70, 74, 78: mean 74, s.d. 4, 7 above the paper's 67
    assert lines[1].split() == ["teacher", "67", "74.0", "±", "4.0", "(3)", "+7.0", "close"]
    assert lines[2].split() == ["student", "74", "98.0", "+24.0", "worse"]
    assert lines[3].split() == ["seconds", "5.25"]
    assert lines[-2:] == ["teacher: 3 seeds", "teacher: jitter of two pixels"]


def test_a_paper_value_keeps_the_decimals_it_has() -> None:
    assert "67.5" in study_table([StudyRow("a", [1], 67.5)], width=80)


def test_markdown_has_a_cell_for_every_column() -> None:
    head, rule, *body = study_markdown(ROWS).strip().split("\n")
    assert head == "|  | paper | ours | difference | verdict | why | note |"
    assert rule == "| :-- | --: | --: | --: | :-- | :-- | :-- |"
    assert body[0] == "| teacher | 67 | 74.0 ± 4.0 (3) | +7.0 | close | 3 seeds | jitter of two pixels |"


def test_hostile_names_cannot_break_out_of_a_cell(hostile: str) -> None:
    lines = study_markdown([StudyRow(hostile, [1], note=hostile)]).strip().split("\n")
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 8
    assert "<" not in lines[2]
    assert all(line.isprintable() for line in study_table([StudyRow(hostile, [1], note=hostile)], width=80).split("\n"))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_table_fits(width: int) -> None:
    assert max(map(len, study_table(ROWS, width=width).split("\n"))) <= width


def test_values_too_small_for_their_digits_are_shown_as_below_the_smallest() -> None:
    tiny = StudyRow("p", [1e-9, 3e-12], digits=4)
    mixed = StudyRow("p", [1e-9, 0.2], digits=4)
    assert study_cells([tiny])[0][2] == "< 0.0001 (2)"
    assert study_cells([mixed])[0][2] == "0.1000 ± 0.1414 (2)"
