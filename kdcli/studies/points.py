"""The points of a study's runs: one for each combination of the values of its axes, and for each seed.

A run that another one teaches has the axes of its teacher too, as ``teacher.axis``, and where the teacher has several
seeds, seed k learns from the teacher's seed k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from kdcli.studies.address import Address, Value, written

Values = tuple[Value, ...]


@dataclass(frozen=True)
class Axes:
    """What the points of a run differ in.

    Args:
        inherited: The axes that come from runs before it, by their names here.
        own: Its own, by the key that is overridden.
        seeds: How many seeds there are: 0, 1, ...
    """

    inherited: Mapping[str, Values]
    own: Mapping[str, Values]
    seeds: int = 1

    @property
    def all(self) -> dict[str, Values]:
        """All axes: inherited ones first."""
        return {**self.inherited, **self.own}

    def heirs(self, label: str) -> dict[str, Values]:
        """The axes as a run has them that the run ``label`` teaches."""
        return {**self.inherited, **{f"{label}.{key}": values for key, values in self.own.items()}}


@dataclass(frozen=True)
class Point:
    """One training or measurement.

    Args:
        values: Its place on every axis.
        seed: Its seed.
        earlier: The points it builds on, each as (run, place among the points of that run).
    """

    values: Mapping[str, Value]
    seed: int = 0
    earlier: Sequence[tuple[str, int]] = ()


def select(axes: Mapping[str, Values], address: Address) -> dict[str, Values]:
    """The axes of a run with only the values that an address wants.

    Raises:
        ValueError: There is no such axis or value.
    """
    for axis in address.wanted:
        if axis not in axes:
            known = ", ".join(axes) or "none"
            raise ValueError(f"{address.run} has no axis {axis!r}; its axes: {known}")
    return {axis: _wanted(axis, values, address) for axis, values in axes.items()}


def _wanted(axis: str, values: Values, address: Address) -> Values:
    if axis not in address.wanted:
        return values
    by_text = {written(value): value for value in values}
    for text in address.wanted[axis]:
        if text not in by_text:
            raise ValueError(f"{axis} of {address.run} is never {text}; its values: {', '.join(by_text)}")
    return tuple(by_text[text] for text in address.wanted[axis])


def inherit(earlier: Sequence[tuple[Address, Axes]], own: Mapping[str, Values], seeds: int) -> Axes:
    """The axes of a run, from those of the runs before it that it builds on.

    Raises:
        ValueError: Two of them know different values of an axis, or the seeds cannot be paired.
    """
    inherited: dict[str, Values] = {}
    for address, axes in earlier:
        renamed = {f"{address.run}.{axis}" if axis in axes.own else axis: axis for axis in axes.all}
        chosen = select(axes.all, address)
        for name, axis in renamed.items():
            if len(chosen[axis]) == 1:
                continue
            if inherited.setdefault(name, chosen[axis]) != chosen[axis]:
                raise ValueError(f"{address.run} has other values of {name} than a run beside it")
        if axes.seeds > 1 and axes.seeds != seeds:
            raise ValueError(
                f"{address.run} is trained with {axes.seeds} seeds, and seed k builds on its seed k: "
                f"seeds must be {axes.seeds} here too, not {seeds}"
            )
    return Axes(inherited, own, seeds)


def points(axes: Axes, earlier: Sequence[tuple[Address, Axes]], known: Mapping[str, Sequence[Point]]) -> list[Point]:
    """All points of a run, seeds last.

    Args:
        axes: Its axes.
        earlier: The runs it builds on, and their axes.
        known: The points of all runs before it.
    """
    names, grids = list(axes.all), product(*axes.all.values())
    return [
        Point(values, seed, [_place(address, before, values, seed, known) for address, before in earlier])
        for values in (dict(zip(names, grid, strict=True)) for grid in grids)
        for seed in range(axes.seeds)
    ]


def _place(
    address: Address, axes: Axes, values: Mapping[str, Value], seed: int, known: Mapping[str, Sequence[Point]]
) -> tuple[str, int]:
    """The point of an earlier run that goes with these values and this seed."""
    chosen = select(axes.all, address)
    wanted = {}
    for axis, of_axis in chosen.items():
        name = f"{address.run}.{axis}" if axis in axes.own else axis
        wanted[axis] = of_axis[0] if len(of_axis) == 1 else values[name]
    paired = seed if axes.seeds > 1 else 0
    for number, point in enumerate(known[address.run]):
        if point.values == wanted and point.seed == paired:
            return address.run, number
    raise AssertionError(f"{address} has no point {wanted}, seed {paired}")
