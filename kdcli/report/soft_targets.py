"""What a teacher says of a few images at several temperatures: the "dark knowledge", as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.gallery import Shape
from kdcli.report.plots import BLUE, ORANGE, SKY, Cell, Drawing, label, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kdcli.schema.findings import SoftTarget

_COLORS = (SKY, BLUE, ORANGE)
_WIDTH = 0.27
_NAME = 9
_HEADER = ["test example", "label", "temperature", "class", "probability"]


def soft_targets(
    targets: Sequence[SoftTarget], classes: Sequence[str], images: Mapping[int, bytes], shape: Shape | None, stem: Path
) -> Drawing:
    """A row an example: its image, and bars of the likeliest classes at each temperature.

    Args:
        targets: The distributions.
        classes: The names.
        images: Their pixels by their place in the test set; empty for rows of a table.
        shape: Of the images.
        stem: The path without suffix.
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(8.0, 0.5 + 1.45 * len(targets)), dpi=150, layout="constrained")
        grid = figure.subplots(
            len(targets), 2, squeeze=False, gridspec_kw={"width_ratios": [1, 5.2] if shape else [0.01, 1]}
        )
        for (left, right), target in zip(grid, targets, strict=True):
            _draw_image(left, target, classes, images.get(target.index), shape)
            _draw_bars(right, target, classes)
        grid[0][1].legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
        return write(figure, stem, _HEADER, _rows(targets, classes))


def _draw_image(
    axes: Axes, target: SoftTarget, classes: Sequence[str], pixels: bytes | None, shape: Shape | None
) -> None:
    axes.axis("off")
    if pixels is not None and shape is not None:
        axes.imshow(shape.array(pixels), interpolation="nearest")
        axes.set_title(f"label {label(classes[target.label], _NAME)}", size=9, loc="center")


def _draw_bars(axes: Axes, target: SoftTarget, classes: Sequence[str]) -> None:
    places = range(len(target.classes))
    for number, (soft, color) in enumerate(zip(target.softened, _COLORS, strict=False)):
        shifted = [place + (number - 1) * _WIDTH for place in places]
        shown = [100 * value for value in soft.probabilities]
        axes.bar(shifted, shown, _WIDTH, color=color, label=f"T = {soft.temperature:g}")
    names = [label(classes[number], _NAME) for number in target.classes]
    axes.set_xticks(places, names, size=9)
    for tick, number in zip(axes.get_xticklabels(), target.classes, strict=True):
        tick.set_fontweight("bold" if number == target.label else "normal")
    axes.set(ylim=(0, 100), ylabel="%")
    axes.set_yticks([0, 50, 100])
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0)


def _rows(targets: Sequence[SoftTarget], classes: Sequence[str]) -> list[list[Cell]]:
    return [
        [target.index, classes[target.label], soft.temperature, classes[number], probability]
        for target in targets
        for soft in target.softened
        for number, probability in zip(target.classes, soft.probabilities, strict=True)
    ]
