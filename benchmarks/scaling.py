"""Time of training against the number of examples, networks of a cohort, units, and classes: the exponents.

Time is that of an epoch of ``kd distill-student`` by its own account, without the first, start-up apart. An exponent is
the slope of a straight line through the logarithms, by least squares; ``last exponent`` is that of the two largest
sizes alone, where what does not grow weighs least. The plot is written beside ``--out`` or as ``scaling.png``.
"""

from __future__ import annotations

import csv
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import Course, Findings, interleave, main, summarised
from benchmarks.workshop import Done, Workshop

EXAMPLES = (0.05, 0.1, 0.2, 0.4, 0.8)
MEMBERS = (1, 2, 4, 8, 16, 32)
UNITS = (30, 75, 150, 300, 600, 1200)
CLASSES = (10, 30, 100, 300, 1000)
ROWS, COLUMNS = 20_000, 16
QUICK = {"examples": (0.01, 0.02), "networks": (1, 2), "units": (10, 20), "classes": (3, 6)}
FULL = {"examples": EXAMPLES, "networks": MEMBERS, "units": UNITS, "classes": CLASSES}

_COMMON = ("baseline=false", "epochs=4", "batch_size=128")


def measure(course: Course) -> Findings:
    """All four, and the plot."""
    sizes: Mapping[str, Sequence[float]] = QUICK if course.quick else FULL
    with Workshop() as shop:
        programs = _programs(shop, sizes, course)
        runs = {
            axis: interleave({f"{size:g}": partial(way, size) for size in sizes[axis]}, course.repeats, of=f"{axis} ")
            for axis, way in programs.items()
        }
    seconds = {axis: [[_epoch(run) for run in done] for done in ways.values()] for axis, ways in runs.items()}
    plot = (course.out or Path("scaling.json")).with_suffix("")
    _draw(sizes, seconds, plot)
    results = {axis: _fitted(sizes[axis], raw) for axis, raw in seconds.items()}
    return Findings({"exponents": results, "plot": plot.with_suffix(".png").name})


def _programs(
    shop: Workshop, sizes: Mapping[str, Sequence[float]], course: Course
) -> dict[str, Callable[[float], Done]]:
    """For each axis the command that trains one size."""
    few = ["transfer.fraction=0.02"] if course.quick else []
    teacher = shop.teacher("model=mlp_30", "epochs=1", *few)
    distil = ["distill-student", f"teacher={teacher}", *_COMMON]
    half = ["transfer.fraction=0.02" if course.quick else "transfer.fraction=0.5"]
    tables = {size: _table_teacher(shop, int(size), course) for size in sizes["classes"]}

    def classes(size: float) -> Done:
        own_teacher, dataset = tables[size]
        return shop.kd("distill-student", f"teacher={own_teacher}", *dataset, "model=mlp_300", *_COMMON)

    return {
        "examples": lambda size: shop.kd(*distil, "model=mlp_300", f"transfer.fraction={size}"),
        "networks": lambda size: shop.kd(*distil, *half, "model=mlp_30", "-m", f"seed={_seeds(int(size))}"),
        "units": lambda size: shop.kd(*distil, *half, "model=mlp", f"model.hidden=[{int(size)},{int(size)}]"),
        "classes": classes,
    }


def _seeds(members: int) -> str:
    return ",".join(map(str, range(members)))


def _table_teacher(shop: Workshop, classes: int, course: Course) -> tuple[Path, list[str]]:
    """A made-up set with so many classes, as a CSV file, and a teacher that has seen it."""
    path = shop.root / f"classes-{classes}.csv"
    rows, draw = 600 if course.quick else ROWS, random.Random(classes)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{column}" for column in range(COLUMNS)), "kind"])
        for row in range(rows):
            kind = row % classes
            numbers = [f"{draw.gauss(math.sin(kind * (column + 1)), 1):.4f}" for column in range(COLUMNS)]
            writer.writerow([*numbers, f"kind {kind:04d}"])
    dataset = ["dataset=csv", f"dataset.path={path}", "dataset.target=kind"]
    return shop.teacher("model=mlp_30", "epochs=1", *dataset), dataset


def _epoch(run: Done) -> float:
    """Median time of an epoch but the first; networks that train together have the same."""
    rows = next(iter(run.metrics.values()))
    return float(statistics.median(row["seconds"] for row in rows[1:]))


def _fitted(sizes: Sequence[float], raw: Sequence[Sequence[float]]) -> dict[str, Any]:
    medians = list(map(statistics.median, raw))
    return {
        "epoch_seconds": {f"{size:g}": summarised(one) for size, one in zip(sizes, raw, strict=True)},
        "exponent": exponent(sizes, medians),
        "last_exponent": exponent(sizes[-2:], medians[-2:]),
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The ``b`` of ``a * size ** b`` that fits the logarithms best."""
    return statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, values))).slope


def _draw(sizes: Mapping[str, Sequence[float]], seconds: Mapping[str, Sequence[Sequence[float]]], stem: Path) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    from kdcli.report.plots import BLUE, finish, panels, styled, write

    with styled():
        figure, places = panels(len(seconds), 3.0 * len(seconds), 3.2)
        rows: list[list[str | float | None]] = []
        for axes, (axis, raw) in zip(places, seconds.items(), strict=True):
            medians = list(map(statistics.median, raw))
            axes.loglog(sizes[axis], medians, color=BLUE, marker="o")
            axes.set_xticks(sizes[axis], [f"{size:g}" for size in sizes[axis]], rotation=45)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_locator(NullLocator())
            name = "share of the examples" if axis == "examples" else axis
            finish(axes, name, "seconds an epoch", f"exponent {exponent(sizes[axis], medians):.2f}")
            rows += [[axis, size, median] for size, median in zip(sizes[axis], medians, strict=True)]
        write(figure, stem, ["axis", "size", "seconds"], rows)


if __name__ == "__main__":
    main("scaling", __doc__, measure, repeats=3)
