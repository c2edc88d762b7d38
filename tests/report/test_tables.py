from __future__ import annotations

import pytest

from kdcli.report.tables import Column, table, table_lines
from kdcli.report.text import width_of

COLUMNS = (
    Column("run", text=True),
    Column("errors"),
    Column("top-1 %", priority=1),
    Column("NLL", priority=2),
    Column("seconds", priority=3),
    Column("never measured", priority=0),
)
ROWS = [
    ["outputs/distill-student/20261121T194455Z-7f3a", "98", "99.02", "0.0304", "183.2", None],
    ["outputs/train-teacher/20261121T190000Z-1111", "1,174", "88.26", "0.3229", "6.1", None],
]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (160, ["run", "errors", "top-1 %", "NLL", "seconds"]),
        (80, ["run", "errors", "top-1 %", "NLL", "seconds"]),
        (69, ["run", "errors", "top-1 %"]),
        (40, ["run", "errors"]),
    ],
)
def test_least_important_columns_go_first_and_lines_fit(width: int, headings: list[str]) -> None:
    lines = table_lines(COLUMNS, ROWS, width=width)
    assert lines[0].replace("top-1 %", "top-1_%").split() == [title.replace(" ", "_") for title in headings]
    assert max(map(len, lines)) <= width


def test_numbers_are_aligned_right_and_names_left() -> None:
    assert table(COLUMNS, ROWS, width=80).split("\n") == [
        "run                                            errors  top-1 %     NLL  seconds",
        "outputs/distill-student/20261121T194455Z-7f3a      98    99.02  0.0304    183.2",
        "outputs/train-teacher/20261121T190000Z-1111     1,174    88.26  0.3229      6.1",
    ]


def test_names_are_shortened_only_when_nothing_is_left_to_drop() -> None:
    lines = table_lines(COLUMNS, ROWS, width=40)
    assert lines[1].endswith("98")
    assert "…" in lines[1]
    assert "55Z-7f3a " in lines[1]


def test_numbers_are_never_cut() -> None:
    lines = table_lines(COLUMNS, ROWS, width=10)
    assert [line.split()[-1] for line in lines[1:]] == ["98", "1,174"]


def test_a_table_of_nothing_is_empty() -> None:
    assert table(COLUMNS, [], width=80) == ""
    assert table(COLUMNS, [[None] * 6], width=80) == ""


@pytest.mark.parametrize("width", [40, 80, 160])
def test_hostile_names_keep_the_lines_straight(hostile: str, width: int) -> None:
    lines = table_lines((Column("", text=True), Column("errors")), [[hostile, "98"], ["plain", "7"]], width=width)
    assert len(lines) == 3
    assert all(line.isprintable() and width_of(line) <= width for line in lines)
    assert len({width_of(line) for line in lines}) == 1
