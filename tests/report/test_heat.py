from __future__ import annotations

import re

import pytest

from kdcli.report.heat import side_by_side, terminal_heatmap
from kdcli.report.text import width_of

VALUES: list[list[float | None]] = [[97.1, None, 97.3], [97.0, 97.2, 97.9]]


def drawn(*, color: bool = False, width: int = 80, x_values: tuple[str, ...] = ("1", "4", "cosine")) -> str:
    return terminal_heatmap(
        VALUES,
        x_values=x_values,
        y_values=["0.1", "0.9"],
        x_label="temperature",
        y_label="alpha",
        best=(1, 2),
        color=color,
        width=width,
    )


def test_the_grid_has_its_labels_and_the_last_row_on_top() -> None:
    assert [line.split() for line in drawn().split("\n")] == [
        ["temperature"],
        ["alpha", "1", "4", "cosine"],
        ["0.9", "97.00", "97.20", "97.90*"],
        ["0.1", "97.10", "-", "97.30"],
    ]


def test_colour_changes_nothing_but_the_colour() -> None:
    colored = drawn(color=True)
    assert "\x1b" not in drawn()
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", colored).split("\n")]
    assert plain == drawn().split("\n")
    shades = {text: shade for shade, text in re.findall(r"48;5;(\d+)m +([\d.*]+)", colored)}
    assert (shades["97.00"], shades["97.90*"]) == ("53", "220")
    assert colored.count("\x1b[0m") == colored.count("48;5;") == 5


def test_where_less_is_better_the_lowest_is_the_brightest() -> None:
    for less, brightest in ((False, "3.00"), (True, "1.00")):
        text = terminal_heatmap(
            [[1, 2, 3]],
            x_values=["a", "b", "c"],
            y_values=["d"],
            x_label="x",
            y_label="y",
            less_is_better=less,
            color=True,
            width=80,
        )
        assert dict(re.findall(r"48;5;(\d+)m +([\d.]+)", text))["220"] == brightest


def test_blocks_stand_side_by_side_where_they_fit_whatever_their_colours() -> None:
    painted = "\x1b[38;5;16;48;5;220m12\x1b[0m"
    blocks = [f"a\n{painted}", "one\ntwo\nthree"]
    assert side_by_side(blocks, 11).split("\n") == ["a     one", f"{painted}    two", "      three"]
    assert side_by_side(blocks, 10) == "\n\n".join(blocks)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_wide_grid_is_cut_between_columns(width: int) -> None:
    blocks = drawn(width=width).split("\n\n")
    assert max(len(line) for block in blocks for line in block.split("\n")) <= width
    cells = [line.split()[1:] for block in blocks for line in block.split("\n")[2:]]
    assert sorted(cell for row in cells for cell in row) == ["-", "97.00", "97.10", "97.20", "97.30", "97.90*"]


def test_hostile_labels_keep_the_columns_straight(hostile: str) -> None:
    lines = drawn(x_values=(hostile, "4", "8"), width=1000).split("\n")
    assert all(line.isprintable() for line in lines)
    assert width_of(lines[2]) == width_of(lines[3]) + 1  # the star


def test_equal_values_and_none_at_all_can_be_drawn() -> None:
    for value in (None, 1.0):
        text = terminal_heatmap(
            [[value, value]], x_values=["1", "2"], y_values=["1"], x_label="x", y_label="y", color=True, width=80
        )
        assert len(text.split("\n")) == 3
