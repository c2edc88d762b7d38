"""The numbers of a study: taken from the results of its runs, point by point and seed by seed, and made into others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from kdcli.studies.address import Address, parse, written
from kdcli.studies.form import Derived, Number
from kdcli.studies.paired import paired_t_test, sign_test
from kdcli.studies.points import Axes, Point, Values, select

Cell = tuple[float | None, ...]
"""One number a seed; None where there is none."""


class Source(Protocol):
    """Where numbers come from."""

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The axes of each run."""

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points of each run."""

    def number(self, run: str, place: int, path: Sequence[str]) -> float | None:
        """A number of the result of a point."""

    def mcnemar(self, first: tuple[str, int], second: tuple[str, int]) -> float:
        """The p of McNemar's exact test between two points, each (run, place), on the test examples."""


@dataclass(frozen=True)
class Grid:
    """Numbers over axes: for each combination of their values a cell."""

    axes: Mapping[str, Values]
    cells: Mapping[tuple[str, ...], Cell]

    def at(self, values: Mapping[str, str]) -> Cell:
        """The cell for some values, as texts; of axes that this grid does not have, any."""
        return self.cells[tuple(values[axis] for axis in self.axes)]

    def alone(self) -> Cell:
        """The one cell of a grid without axes.

        Raises:
            ValueError: It has some.
        """
        if self.axes:
            axis, values = next(iter(self.axes.items()))
            listed = ", ".join(map(written, values))
            raise ValueError(f"{axis} is still open ({listed}): choose a value in [...], or look over it")
        return self.cells[()]


def keys(axes: Mapping[str, Values]) -> list[tuple[str, ...]]:
    """All combinations, as texts."""
    return list(product(*([written(value) for value in values] for values in axes.values())))


def measure(value: Number, source: Source) -> Grid:
    """A value as numbers.

    Raises:
        ValueError: It cannot be had: no such run, axis, value or number, or axes and seeds that do not go together.
    """
    if isinstance(value, float | int):
        return Grid({}, {(): (float(value),)})
    if isinstance(value, str):
        address = parse(value)
        return _collected(address, source, lambda place: source.number(address.run, place, address.path))
    if value.op == "mcnemar":
        return _mcnemar(value, source)
    inner = [measure(each, source) for each in value.of]
    if value.op in _BY_CELL:
        return _together(inner, _BY_CELL[value.op])
    if value.op == "mean":
        return _mean(inner[0], value.over)
    return _best(value, inner[0], inner[-1])


def _collected(address: Address, source: Source, number: Callable[[int], float | None]) -> Grid:
    if address.run not in source.axes:
        raise ValueError(f"no run is called {address.run!r}; the runs are: {', '.join(source.axes)}")
    chosen = select(source.axes[address.run].all, address)
    open_axes = {axis: values for axis, values in chosen.items() if len(values) > 1}
    cells: dict[tuple[str, ...], list[float | None]] = {key: [] for key in keys(open_axes)}
    for place, point in enumerate(source.points[address.run]):
        if all(point.values[axis] in values for axis, values in chosen.items()):
            cells[tuple(written(point.values[axis]) for axis in open_axes)].append(number(place))
    return Grid(open_axes, {key: tuple(cell) for key, cell in cells.items()})


def _mcnemar(value: Derived, source: Source) -> Grid:
    """The p of two runs on each test example; the numbers of the grids are the places of the points."""
    addresses = [parse(each) for each in value.of if isinstance(each, str)]
    places = [_collected(address, source, float) for address in addresses]

    def p_value(first: Cell, second: Cell) -> Cell:
        return tuple(
            source.mcnemar((addresses[0].run, int(a or 0)), (addresses[1].run, int(b or 0)))
            for a, b in zip(*_matched([first, second]), strict=True)
        )

    return _together(places, p_value)


def _together(grids: Sequence[Grid], combine: Callable[..., Cell]) -> Grid:
    """Cell by cell; an axis that one of them lacks is the same for it everywhere."""
    axes: dict[str, Values] = {}
    for grid in grids:
        for axis, values in grid.axes.items():
            if axes.setdefault(axis, values) != values:
                raise ValueError(f"{axis} has different values in what is put together")
    cells = {}
    for key in keys(axes):
        values_at = dict(zip(axes, key, strict=True))
        cells[key] = combine(*(grid.at(values_at) for grid in grids))
    return Grid(axes, cells)


def _matched(cells: Sequence[Cell]) -> list[Cell]:
    """Cells with as many seeds each; one that has a single number stands beside every seed of the others."""
    count = max(map(len, cells))
    for cell in cells:
        if len(cell) not in (1, count):
            raise ValueError(f"{len(cell)} and {count} seeds cannot be paired")
    return [cell * count if len(cell) == 1 else cell for cell in cells]


def _each(formula: Callable[..., float | None]) -> Callable[..., Cell]:
    def combine(*cells: Cell) -> Cell:
        rows = zip(*_matched(cells), strict=True)
        return tuple(None if None in row else formula(*row) for row in rows)

    return combine


def _over_seeds(test: Callable[[Sequence[float], Sequence[float]], float | None]) -> Callable[..., Cell]:
    def combine(*cells: Cell) -> Cell:
        pairs = [(a, b) for a, b in zip(*_matched(cells), strict=True) if a is not None and b is not None]
        return (test([a for a, _ in pairs], [b for _, b in pairs]),)

    return combine


def _ratio(first: float, second: float) -> float | None:
    return first / second if second else None


def _gain_kept(student: float, baseline: float, teacher: float) -> float | None:
    return _ratio(baseline - student, baseline - teacher)


_BY_CELL: Mapping[str, Callable[..., Cell]] = {
    "difference": _each(lambda first, second: first - second),
    "ratio": _each(_ratio),
    "gain_kept": _each(_gain_kept),
    "t_test": _over_seeds(paired_t_test),
    "sign_test": _over_seeds(sign_test),
}


def mean(cell: Cell) -> float | None:
    """Over the seeds that have a number."""
    known = [number for number in cell if number is not None]
    return statistics.fmean(known) if known else None


def _split(grid: Grid, over: Sequence[str]) -> tuple[dict[str, Values], list[dict[str, str]], list[dict[str, str]]]:
    """The axes that stay, the combinations of their values, and those of the axes that are looked over."""
    for axis in over:
        if axis not in grid.axes:
            known = ", ".join(grid.axes) or "none"
            raise ValueError(f"{axis!r} is no open axis of what is looked over; open are: {known}")
    kept = {axis: values for axis, values in grid.axes.items() if axis not in over}
    along = {axis: grid.axes[axis] for axis in over}
    return kept, [dict(zip(kept, key, strict=True)) for key in keys(kept)], _combinations(along)


def _combinations(axes: Mapping[str, Values]) -> list[dict[str, str]]:
    return [dict(zip(axes, key, strict=True)) for key in keys(axes)]


def _mean(grid: Grid, over: Sequence[str]) -> Grid:
    if not over:
        return Grid(grid.axes, {key: (mean(cell),) for key, cell in grid.cells.items()})
    kept, places, along = _split(grid, over)
    cells = {
        tuple(place.values()): tuple(map(mean, zip(*(grid.at({**place, **one}) for one in along), strict=True)))
        for place in places
    }
    return Grid(kept, cells)


def _best(value: Derived, wanted: Grid, by: Grid) -> Grid:
    """min, max, argmin, argmax, at_min and at_max: look along the axes, by the mean over the seeds."""
    kept, places, along = _split(by, value.over)
    sign = -1 if value.op.endswith("max") else 1
    cells: dict[tuple[str, ...], Cell] = {}
    for place in places:
        means = [(mean(by.at({**place, **one})), one) for one in along]
        known = [(sign * found, index) for index, (found, _) in enumerate(means) if found is not None]
        best = along[min(known)[1]] if known else None
        cells[tuple(place.values())] = (None,) if best is None else _found(value, wanted, {**place, **best}, best)
    return Grid(kept, cells)


def _found(value: Derived, wanted: Grid, at: Mapping[str, str], best: Mapping[str, str]) -> Cell:
    if not value.op.startswith("arg"):
        return wanted.at(at)
    (text,) = best.values()
    try:
        return (float(text),)
    except ValueError as problem:
        raise ValueError(f"{value.op} over {value.over[0]}: {text!r} is no number") from problem
