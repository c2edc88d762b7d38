from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

import pytest
from PIL import Image

from kdcli.report.plots import Drawing
from kdcli.report.sweep import Numbers, Reference, SweepRow
from kdcli.report.sweep_figures import draw_sweep, terminal_grid
from kdcli.report.sweep_screen import sweep_screen


def job(val: float | None, errors: int, *, baseline: Reference | None = None, **settings: str) -> SweepRow:
    nll, examples = (None, None) if val is None else (0.1, 6000)
    own = Numbers(val, nll, examples, errors, 1 - errors / 1e4, 10_000)
    teacher = None if baseline is None else Reference("t", Numbers(0.99, 0.1, 6000, 70, 0.993, 10_000))
    return SweepRow("j", settings, "finished", own, "mnist", baseline, teacher)


def reference(val: float, errors: int, name: str = "baselines/00") -> Reference:
    return Reference(name, Numbers(val, 0.1, 6000, errors, 1 - errors / 1e4, 10_000))


GRID = [
    job(0.90 + 0.01 * k + 0.001 * seed, 200 - 10 * k, temperature=t, alpha=a, seed=str(seed))
    for k, (t, a) in enumerate([("1", "0.1"), ("1", "0.9"), ("cosine", "0.1"), ("cosine", "0.9")])
    for seed in (0, 1)
]


def table_of(drawing: Drawing) -> list[list[str]]:
    with drawing.csv.open(newline="") as file:
        return list(csv.reader(file))


def test_a_grid_is_drawn_for_validation_and_for_test_with_its_numbers(tmp_path: Path) -> None:
    first, second = draw_sweep(GRID, tmp_path / "figures")
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [f"heatmap{part}.{kind}" for part in ("-test", "") for kind in ("csv", "png", "svg")]
    head, *cells = table_of(first.drawing)
    assert head == ["temperature", "alpha", "top-1 on validation, %", "standard deviation"]
    assert [row[:2] for row in cells] == [["1", "0.1"], ["cosine", "0.1"], ["1", "0.9"], ["cosine", "0.9"]]
    deviation = 100 * statistics.stdev([0.90, 0.901])
    assert [float(value) for value in cells[0][2:]] == pytest.approx([90.05, deviation])
    assert table_of(second.drawing)[0][2] == "test errors"
    assert [float(row[2]) for row in table_of(second.drawing)[1:]] == [200, 180, 190, 170]


def test_without_validation_only_the_test_errors_are_drawn() -> None:
    shown = str(
        terminal_grid([job(None, 150, temperature=t, alpha=a) for t in "12" for a in "01"], color=False, width=80)
    )
    assert shown.split("\n")[0] == "test errors (not to choose by)"
    assert "validation" not in shown
    assert "*" not in shown


def test_without_a_teacher_a_line_of_networks_is_drawn(tmp_path: Path) -> None:
    (picture,) = draw_sweep([job(None, 100, lr=lr) for lr in ("2", "1")], tmp_path)
    assert table_of(picture.drawing)[1:] == [["network", "1.0", "100.0", ""], ["network", "2.0", "100.0", ""]]


def test_one_key_of_numbers_is_a_line_beside_what_all_are_compared_with(tmp_path: Path) -> None:
    without = reference(0.95, 146)
    rows = [job(0.96 + k / 100, 120 - k, baseline=without, temperature=t) for k, t in enumerate(("20", "1", "4"))]
    first, second = draw_sweep(rows, tmp_path)
    assert [row[2] for row in table_of(second.drawing)[1:]] == ["119.0", "118.0", "120.0", "146.0", "70.0"]
    assert first.drawing.csv.name == "points.csv"
    assert table_of(first.drawing)[1:] == [
        ["student", "1.0", "97.0", ""],
        ["student", "4.0", "98.0", ""],
        ["student", "20.0", "96.0", ""],
        ["baseline", "", "95.0", ""],
        ["teacher", "", "99.0", ""],
    ]


def test_baselines_of_their_own_are_a_line_of_their_own(tmp_path: Path) -> None:
    rows = [
        job(None, 120, baseline=reference(0.9, 146 + k, f"baselines/{k:02}"), lr=lr) for k, lr in enumerate(("1", "2"))
    ]
    (picture,) = draw_sweep(rows, tmp_path)
    assert [row[:3] for row in table_of(picture.drawing)[3:]] == [
        ["baseline", "1.0", "146.0"],
        ["baseline", "2.0", "147.0"],
        ["teacher", "", "70.0"],
    ]


def test_one_key_of_names_is_a_dot_each(tmp_path: Path) -> None:
    rows = [
        job(0.96 + seed / 100, 120, baseline=reference(0.9 + k / 100, 146, f"b{k}"), model=model, seed=str(seed))
        for k, model in enumerate(("mlp_30", "mlp_100"))
        for seed in (0, 1)
    ]
    first, second = draw_sweep(rows, tmp_path)
    head, *cells = table_of(first.drawing)
    assert head == ["model", "top-1 on validation, %", "standard deviation", "baseline"]
    assert [(row[0], float(row[1]), row[3]) for row in cells[:2]] == [
        ("mlp_30", pytest.approx(96.5), "90.0"),
        ("mlp_100", pytest.approx(96.5), "91.0"),
    ]
    assert float(cells[0][2]) == pytest.approx(100 * statistics.stdev([0.96, 0.97]))
    assert cells[2] == ["teacher", "99.0", "", ""]
    with Image.open(second.drawing.png) as image:
        image.load()
        assert image.width > 400


def test_seeds_alone_and_what_failed_are_not_drawn(tmp_path: Path) -> None:
    assert draw_sweep([job(0.9, 100, seed=str(seed)) for seed in range(3)], tmp_path) == []
    assert draw_sweep([SweepRow("j", {"temperature": t}, "failed") for t in "12"], tmp_path) == []


def test_grids_stand_side_by_side_where_there_is_room() -> None:
    narrow, wide = (str(terminal_grid(GRID, color=False, width=width)) for width in (80, 160))
    assert max(map(len, narrow.split("\n"))) <= 80
    assert len(wide.split("\n")) == 5
    head, *rows = wide.split("\n")
    assert head.split("  ")[0] == "top-1 on validation, % (mean of 2 seeds)"
    assert head.endswith("test errors (mean of 2 seeds, not to choose by)")
    assert rows[2].split() == ["0.9", "91.05", "93.05*", "0.9", "190.0", "170.0"]
    assert narrow.count("*") == 1


def test_where_seeds_were_lost_the_means_are_of_no_fixed_number() -> None:
    assert "(mean over seeds)" in str(terminal_grid(GRID[:-1], color=False, width=80))


def test_bright_is_good_in_both_grids() -> None:
    shown = str(terminal_grid(GRID, color=True, width=160)).split("\n")[3]
    shades = dict(re.findall(r"48;5;(\d+)m +([\d.]+)", shown))
    assert {shade: float(text) for shade, text in shades.items()}["220"] in (93.05, 170.0)
    assert len(re.findall(r"48;5;220m", shown)) == 2


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("color", [False, True])
def test_the_whole_screen_keeps_its_width(width: int, color: bool) -> None:
    text = sweep_screen(GRID, smoke=False, color=color, width=width)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.split("\n"))) <= width
    assert ("\x1b" in text) == color
    order = ["rank", "Ranked by", "top-1 on validation, %", "is the best of 4 settings"]
    assert [plain.index(part) for part in order] == sorted(plain.index(part) for part in order)


def test_hostile_settings_can_be_drawn(hostile_names: tuple[str, ...], tmp_path: Path) -> None:
    rows = [job(0.9, 100, **{hostile_names[7]: name}) for name in hostile_names]
    first, _ = draw_sweep(rows, tmp_path)
    assert len(table_of(first.drawing)) == 1 + len(hostile_names)
    grid = [job(0.9, 100, **{hostile_names[7]: name, "alpha": a}) for name in hostile_names for a in "12"]
    shown = sweep_screen(grid, smoke=False, color=False, width=100)
    assert all(line.isprintable() for line in shown.split("\n"))
