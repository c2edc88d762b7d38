"""What accuracy costs, drawn."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image

from kdcli.report.tradeoff import Priced, pareto, tradeoff, worth_drawing


def priced(name: str, kind: str, parameters: int, *top1: float) -> Priced:
    return Priced(name, kind, top1, parameters, parameters - 10, 4 * parameters, 1e-5 * parameters**0.5)


POINTS = [
    priced("mlp_30", "student", 24_790, 0.95, 0.96),
    priced("mlp_100", "student", 89_610, 0.97),
    priced("baseline mlp_100", "baseline", 89_610, 0.965),
    priced("teacher", "teacher", 2_395_210, 0.97),
]


def test_the_front_holds_what_nothing_beats() -> None:
    assert pareto([(1, 5), (2, 5), (3, 9), (3, 8), (0.5, 1)]) == [True, False, True, False, True]
    assert pareto([(1, 5), (1, 5)]) == [True, True], "equals do not beat each other"


def test_the_figure_has_its_numbers_and_marks_each_front(tmp_path: Path) -> None:
    drawing = tradeoff(POINTS, tmp_path / "tradeoff")
    with Image.open(drawing.png) as image:
        image.load()
    with drawing.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["on the front of parameters"] for row in rows] == ["yes", "yes", "no", "no"]
    assert [float(row["parameters"]) for row in rows] == [24_790, 89_610, 89_610, 2_395_210]
    assert abs(float(rows[0]["top-1 on test, %"]) - 95.5) < 1e-9
    assert rows[1]["standard deviation"] == ""


def test_networks_of_one_size_are_not_worth_a_figure() -> None:
    assert worth_drawing(POINTS)
    assert not worth_drawing(POINTS[1:])
    assert not worth_drawing([])
