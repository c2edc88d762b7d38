"""Runs compared: groups over seeds, what differs, grids, and the formats that others read."""

from __future__ import annotations

import csv
import io
import re
import statistics

import pytest

from kdcli.report.comparison import BY_NAME, ComparedRun, Setting, compare, pivot, run_name
from kdcli.report.comparison_table import comparison_text, for_pages, pivot_cells, pivot_note, pivot_text, remarks
from kdcli.report.formats import csv_text, latex, markdown
from kdcli.report.tables import Column
from kdcli.report.text import width_of

VALUES = {("1", 0): 0.90, ("1", 1): 0.92, ("4", 0): 0.95, ("4", 1): 0.94}


def run(temperature: float, seed: int, top1: float, **settings: Setting) -> ComparedRun:
    own: dict[str, Setting] = {"command": "distill-student", "temperature": temperature, "epochs": 3, "seed": seed}
    measures = {"val_top1": top1, "val_top1_best": top1, "val_top1_epoch": 2, "test_errors": 10_000 * (1 - top1)}
    return ComparedRun(f"run-{temperature:g}-{seed}", f"outputs/x/{seed}", own | settings, measures)


def four() -> list[ComparedRun]:
    return [run(float(temperature), seed, top1) for (temperature, seed), top1 in VALUES.items()]


def test_runs_that_differ_by_seed_are_one_group_and_only_what_differs_is_kept() -> None:
    comparison = compare(four())
    assert [[each.id for each in group.runs] for group in comparison.groups] == [
        ["run-1-0", "run-1-1"],
        ["run-4-0", "run-4-1"],
    ]
    assert list(comparison.differing) == ["temperature"]
    assert not comparison.alone


def test_mean_and_deviation_are_those_of_the_sample() -> None:
    first = compare(four()).groups[0].statistics()["val_top1"]
    assert first == {"n": 2, "mean": statistics.fmean([0.90, 0.92]), "sd": statistics.stdev([0.90, 0.92])}


def test_the_same_seed_twice_is_no_second_seed() -> None:
    comparison = compare([run(1, 0, 0.9), run(1, 0, 0.9), run(1, 1, 0.8)])
    assert [len(group.runs) for group in comparison.groups] == [2, 1]
    assert comparison.alone
    assert comparison.differing == []


def test_keys_that_only_one_command_has_do_not_tell_runs_apart() -> None:
    taught = run(1, 0, 0.9, teacher="outputs/train-teacher/20260101T000000Z-abcd", ensemble="arithmetic")
    alone = ComparedRun("t", "t", {"command": "train-teacher", "epochs": 3, "seed": 0, "members_data": "all"}, {})
    assert list(compare([taught, alone]).differing) == ["command", "teacher"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("outputs/train-teacher/20260101T000000Z-abcd", "20260101T000000Z-abcd"),
        ("/a/20260101T000000Z-abcd/03", "20260101T000000Z-abcd/03"),
        ("mlp_30", "mlp_30"),
    ],
)
def test_a_run_is_named_from_its_time_stamp_on(path: str, name: str) -> None:
    assert run_name(path) == name


def test_a_single_run_a_setting_is_warned_of_and_several_are_not() -> None:
    assert "n = 1" in comparison_text(compare(four()[::2]), width=80)
    assert "n = 1" not in comparison_text(compare(four()), width=80)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_parameters_go_before_the_main_measures_and_the_legend_keeps_them(width: int) -> None:
    long = {f"model.key_number_{number}": "x" * 20 for number in range(3)}
    runs = [run(t, 0, 0.9, **{key: f"{value}{t}" for key, value in long.items()}) for t in range(1, 8)]
    text = comparison_text(compare(runs), width=width)
    table, legend = text.split("\n\n")[:2]
    assert max(map(width_of, table.split("\n"))) <= width
    assert "val top-1 %" in table
    assert "test errors" in table
    assert ("model.key_number_2" in table) == (width > 80)
    joined = re.sub(r"\s+", "", legend)
    assert all(f"{key}={value}7" in joined for key, value in long.items())


def test_names_cannot_steer_the_terminal() -> None:
    hostile = ComparedRun("\x1b[31m", "p", {"temperature": "\x1b]0;x\x07", "seed": 0}, {"val_top1": 0.5})
    text = comparison_text(compare([hostile, run(1, 0, 0.9)]), width=80)
    assert not {mark for mark in text if ord(mark) < 32 and mark != "\n"}


def test_a_pivot_has_the_mean_of_each_cell_and_says_what_it_is_a_mean_over() -> None:
    runs = [
        run(t, seed, 0.9 + t / 100 + seed / 1000, alpha=alpha)
        for t in (4, 1)
        for alpha in (0.5, 0.9)
        for seed in (0, 1)
        if (t, alpha) != (4, 0.9)
    ]
    grid = pivot(compare(runs), "temperature", "alpha", BY_NAME["val_top1"])
    assert (list(grid.row_values), list(grid.column_values)) == (["1", "4"], ["0.5", "0.9"])
    assert [[len(cell) for cell in row] for row in grid.cells] == [[2, 2], [2, 0]]
    assert pivot_note(grid) == "val top-1 %: mean of 2 runs a cell."
    assert "91.05" in pivot_text(grid, color=False, width=80)
    columns, rows = pivot_cells(grid)
    assert rows[1] == ["4", "94.05 ± 0.07", ""]
    others = [run(1, seed, 0.9, alpha=0.5, epochs=epochs) for seed in (0, 1) for epochs in (3, 4)]
    assert list(pivot(compare(others), "temperature", "alpha", BY_NAME["val_top1"]).averaged) == ["epochs"]


def test_a_pivot_over_the_seed_has_each_run_in_its_own_cell() -> None:
    grid = pivot(compare(four()), "temperature", "seed", BY_NAME["val_top1"])
    assert (list(grid.row_values), list(grid.column_values)) == (["1", "4"], ["0", "1"])
    assert [[list(cell) for cell in row] for row in grid.cells] == [[[0.90], [0.92]], [[0.95], [0.94]]]


def test_what_is_of_the_chosen_epoch_anyhow_is_not_said_again() -> None:
    last = {"val_top1": 0.9, "val_top1_best": 0.9, "val_top1_last": 0.9}
    runs = [ComparedRun(str(seed), "", {"seed": seed}, last) for seed in (0, 1)]
    assert [measure.name for measure in compare(runs).shown()] == ["val_top1"]
    runs[0] = ComparedRun("0", "", {"seed": 0}, last | {"val_top1_last": 0.8})
    assert [measure.name for measure in compare(runs).shown()] == ["val_top1", "val_top1_last"]


def test_the_same_training_twice_is_not_said_to_differ_in_the_seed() -> None:
    assert remarks(compare([run(1, 0, 0.9), run(1, 1, 0.9)]))[0] == "No setting differs but the seed."
    assert "the same training again" in remarks(compare([run(1, 0, 0.9), run(1, 0, 0.9)]))[0]


def test_markdown_has_a_rule_and_escapes_what_would_end_a_cell() -> None:
    lines = markdown([Column("a|b", text=True), Column("n"), Column("empty")], [["x|y", "1", ""], ["<b>", "2", None]])
    assert lines.splitlines() == ["| a\\|b | n |", "| :-- | --: |", "| x\\|y | 1 |", "| &lt;b> | 2 |"]


def test_latex_escapes_every_character_that_means_something() -> None:
    text = latex([Column("top-1 %"), Column("name", text=True)], [["1 ± 2", "a_b&c$d#e{f}~^\\"]])
    assert r"top-1 \% & name \\" in text
    assert r"1 $\pm$ 2 & a\_b\&c\$d\#e\{f\}\textasciitilde{}\textasciicircum{}\textbackslash{} \\" in text
    assert text.count("rule") == 3


def test_csv_reads_back_in_full_precision() -> None:
    text = csv_text(["name", "value"], [['a "quoted", name', 0.1 + 0.2], ["none", None]])
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "value"],
        ['a "quoted", name', "0.30000000000000004"],
        ["none", ""],
    ]


def test_a_table_for_a_page_leaves_out_what_only_a_closer_look_needs() -> None:
    columns, rows = for_pages(compare(four()))
    assert [column.title for column in columns] == [
        "temperature",
        "seeds",
        "val top-1 %",
        "epoch of best",
        "test errors",
    ]
    assert rows[1][2] == "94.50 ± 0.71"
