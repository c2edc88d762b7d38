from __future__ import annotations

import csv
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kdcli.report.curves import curves
from kdcli.report.figures import Bar, Series, bar_text, bars, draw_references, heatmap, lines
from kdcli.report.plots import Drawing, csv_bytes

METRICS = [
    {
        "epoch": e,
        "train/loss": 1 / (e + 3),
        "train/hard": 0.1 / (e + 1),
        "train/soft": 2 / 7**e,
        "val/top1": 1 - 0.1 / (e + 1),
    }
    for e in range(12)
]
BASELINE = [{"epoch": e, "train/loss": 1 / 3**e, "val/top1": 0.9 + e / 300} for e in range(12)]


def draw_curves(stem: Path) -> Drawing:
    return curves(METRICS, stem, baseline=BASELINE, teacher_top1=0.99, best_epoch=9)


def draw_heatmap(stem: Path) -> Drawing:
    values: list[list[float | None]] = [[97.1, None, 97.3], [97 + 1 / 3, 97.2, 97.9]]
    return heatmap(
        values, stem, x_values=["1", "4", "cosine"], y_values=["0.1", "0.9"], x_label="temperature", y_label="alpha",
        title="top-1 on validation, %", unit="top-1", sd=[[0.1, None, 0.2], [None, 0.3, 1 / 7]], best=(1, 2),
    )  # fmt: skip


def draw_bars(stem: Path) -> Drawing:
    rows = [Bar("teacher", 71.0, 2.6, 67.0), Bar("alone", 146.0, None, 146.0), Bar("new", 1 / 3)]
    return bars(rows, stem, x_label="test errors", title="Hinton et al. 2015")


def draw_lines(stem: Path) -> Drawing:
    series = [Series("student", [1, 4, 20], [140, 110.5, 98], [3, 2, 1 / 3]), Series("baseline", [1, 20], [146, 146])]
    return lines(series, stem, x_label="temperature", y_label="errors", title="Errors", log_x=True)


ALL = [draw_curves, draw_heatmap, draw_bars, draw_lines]


def numbers(drawing: Drawing) -> list[list[str]]:
    with drawing.csv.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("draw", ALL)
def test_a_figure_is_a_png_and_an_svg_without_script_or_link_and_always_the_same_bytes(
    draw: Callable[[Path], Drawing], tmp_path: Path
) -> None:
    drawing = draw(tmp_path / "figures" / "one.two")
    assert [path.name for path in (drawing.png, drawing.svg, drawing.csv)] == [
        "one.two.png",
        "one.two.svg",
        "one.two.csv",
    ]
    with Image.open(drawing.png) as image:
        image.load()
        assert (image.format, image.width > 400) == ("PNG", True)
        assert len(image.getcolors(maxcolors=10**6) or []) > 20
    tree = ET.fromstring(drawing.svg.read_text())
    names = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert not names & {"script", "foreignObject", "a"}
    again = draw(tmp_path / "again")
    assert drawing.png.read_bytes() == again.png.read_bytes()
    assert drawing.svg.read_bytes() == again.svg.read_bytes()
    links = {value for element in tree.iter() for key, value in element.attrib.items() if key.endswith("href")}
    assert all(link.startswith(("#", "data:image/png")) for link in links)


def test_the_numbers_of_the_curves_are_those_of_the_run(tmp_path: Path) -> None:
    head, *rows = numbers(draw_curves(tmp_path / "curves"))
    assert head == [
        "epoch",
        "train/loss",
        "train/hard",
        "train/soft",
        "val/top1",
        "baseline train/loss",
        "baseline val/top1",
    ]
    for row, own, other in zip(rows, METRICS, BASELINE, strict=True):
        assert [float(cell) for cell in row] == [*own.values(), other["train/loss"], other["val/top1"]]


def test_the_numbers_of_the_heatmap_are_its_cells(tmp_path: Path) -> None:
    assert numbers(draw_heatmap(tmp_path / "heat")) == [
        ["temperature", "alpha", "top-1", "standard deviation"],
        ["1", "0.1", "97.1", "0.1"],
        ["4", "0.1", "", ""],
        ["cosine", "0.1", "97.3", "0.2"],
        ["1", "0.9", repr(97 + 1 / 3), ""],
        ["4", "0.9", "97.2", "0.3"],
        ["cosine", "0.9", "97.9", repr(1 / 7)],
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Bar("as it is", 146.04, sd=6.02, paper=206), "146.0 ± 6.0 (paper 206)"),
        (Bar("alone", 4730.4, digits=0), "4,730"),
        (Bar("share", 0.914, paper=0.86, digits=2), "0.91 (paper 0.86)"),
    ],
)
def test_a_bar_says_its_spread_and_the_papers_number(row: Bar, text: str) -> None:
    assert bar_text(row) == text


def test_the_numbers_of_bars_and_lines_are_their_input(tmp_path: Path) -> None:
    assert numbers(draw_bars(tmp_path / "bars"))[1:] == [
        ["teacher", "71.0", "2.6", "67.0"],
        ["alone", "146.0", "", "146.0"],
        ["new", repr(1 / 3), "", ""],
    ]
    assert numbers(draw_lines(tmp_path / "lines"))[1:] == [
        ["student", "1", "140", "3"],
        ["student", "4", "110.5", "2"],
        ["student", "20", "98", repr(1 / 3)],
        ["baseline", "1", "146", ""],
        ["baseline", "20", "146", ""],
    ]


@pytest.mark.parametrize(("places", "between"), [((2, 4), []), ((2, 4.5), ["2.0", "2.5", "3.0", "3.5", "4.0", "4.5"])])
def test_between_two_networks_and_four_there_is_no_two_and_a_half(
    tmp_path: Path, places: tuple[float, ...], between: list[str]
) -> None:
    series = [Series("one", places, [1000 * place for place in places])]
    drawn = lines(series, tmp_path / "few", x_label="networks", y_label="errors", title="Few")
    texts = re.findall("<!-- (.*?) -->", drawn.svg.read_text())  # letters are shapes, each with its text beside it
    assert [text for text in texts if "." in text] == between
    assert {"2", "2.0"} & set(texts), "what stands on the axes is not found"


def test_thousands_are_short(tmp_path: Path) -> None:
    series = [Series("one", [4000, 396000], [2, 1])]
    drawn = lines(series, tmp_path / "few", x_label="cases", y_label="errors", title="Few", log_x=True)
    texts = set(re.findall("<!-- (.*?) -->", drawn.svg.read_text()))
    assert {"4k", "396k"} < texts
    assert not {"4000", "396000"} & texts


def test_four_references_are_drawn_in_four_ways() -> None:
    drawn: list[dict[str, Any]] = []
    draw_references(lambda value, **style: drawn.append(style), {"a": 1, "b": 2, "c": 3, "d": 4})
    assert len({str(style["linestyle"]) for style in drawn}) == 4


def test_a_training_without_validation_baseline_or_soft_term_has_one_curve(tmp_path: Path) -> None:
    metrics = [{"epoch": 0, "train/loss": 0.5, "train/hard": 0.5, "train/soft": None, "val/top1": None}]
    drawing = curves(metrics, tmp_path / "one")
    assert numbers(drawing)[1] == ["0", "0.5", "0.5", "", "", "", ""]
    with Image.open(drawing.png) as image:
        assert image.width < 1000


def test_metrics_of_a_diverged_run_can_be_drawn(tmp_path: Path) -> None:
    metrics: list[dict[str, float | None]] = [
        {"epoch": 0, "train/loss": 0.5, "val/top1": 0.9},
        {"epoch": 1, "train/loss": None, "val/top1": None},
    ]
    assert numbers(curves(metrics, tmp_path / "one"))[2] == ["1", "", "", "", "", "", ""]


def test_a_grid_without_a_number_or_with_one_can_be_drawn(tmp_path: Path) -> None:
    for value in (None, 97.2):
        drawing = heatmap(
            [[value]], tmp_path / "one", x_values=["1"], y_values=["1"], x_label="x", y_label="y", title="t", unit="u"
        )
        with Image.open(drawing.png) as image:
            image.load()


def test_more_lines_than_colours_stay_distinct(tmp_path: Path) -> None:
    series = [Series(f"line {k}", list(range(14)), [k] * 14) for k in range(14)]
    lines(series, tmp_path / "many", x_label="x", y_label="y", title="t", log_x=False)


def test_the_colours_of_a_grid_can_be_turned_round(tmp_path: Path) -> None:
    def left_and_right(less_is_better: bool) -> list[int]:
        drawing = heatmap(
            [[1.0, 2.0]], tmp_path / "one", x_values=["a", "b"], y_values=["c"], x_label="x", y_label="y", title="",
            unit="u", less_is_better=less_is_better,
        )  # fmt: skip
        with Image.open(drawing.png) as image:
            middle = image.convert("L").height // 3
            return [image.convert("L").getpixel((image.width * part // 8, middle)) for part in (3, 6)]

    dark, bright = left_and_right(False)
    assert dark < bright
    assert left_and_right(True) == [bright, dark]


def test_references_cross_the_whole_figure_and_are_in_its_numbers(tmp_path: Path) -> None:
    drawing = lines(
        [Series("student", [1, 4], [140, 110])], tmp_path / "one", x_label="x", y_label="y", title="t",
        references={"baseline": 146.0},
    )  # fmt: skip
    assert numbers(drawing)[1:] == [
        ["student", "1", "140", ""],
        ["student", "4", "110", ""],
        ["baseline", "", "146.0", ""],
    ]


def test_hostile_names_are_drawn_and_cannot_become_formulas(hostile_names: Sequence[str], tmp_path: Path) -> None:
    rows = [Bar(name, 1.0) for name in hostile_names]
    longest = max(hostile_names, key=len)
    drawing = bars(rows, tmp_path / "bars", x_label=longest, title=longest)
    for cells in numbers(drawing)[1:]:
        assert not cells[0].startswith(("=", "+", "-", "@"))
        assert cells[0].isprintable()
    ET.fromstring(drawing.svg.read_text())


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("-rf", "'-rf"), (-1.5, "-1.5"), (None, ""), ("a=b", "a=b"), ("\t=1", "\\x09=1")],
)
def test_texts_that_begin_like_formulas_are_quoted_and_numbers_are_not(cell: str | float | None, written: str) -> None:
    assert csv_bytes(["=a", "b"], [[cell, 2]]).decode() == f"'=a,b\n{written},2\n"


def test_numbers_are_written_in_full_precision() -> None:
    assert float(csv_bytes(["a"], [[math.pi]]).decode().split("\n")[1]) == math.pi


def test_drawing_leaves_no_trace_in_matplotlib(tmp_path: Path) -> None:
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    draw_bars(tmp_path / "bars")
    assert dict(mpl.rcParams) == before
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []
