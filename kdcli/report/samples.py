"""Examples of a dataset: in a terminal as coloured half blocks, as a figure, and their numbers as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcli.report.gallery import Shape, Tile, gallery
from kdcli.report.plots import Cell, Drawing
from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, pad, shorten
from kdcli.report.units import count, short


@dataclass(frozen=True)
class ColumnRange:
    """A column of a table over the training examples; ``categories`` counts the codes of a nominal one."""

    number: int
    low: float
    mean: float
    high: float
    deviation: float
    categories: int | None


_SIDE = 18
_GAP = 2
_ROWS = 2
_MOST_CLASSES = 60
_RESET = "\x1b[0m"


def counts_table(classes: Sequence[str], counts: Mapping[str, Sequence[int]], *, width: int) -> str:
    """How many examples of each class are in each part; of very many classes the first."""
    columns = [Column("class", text=True), *(Column(name) for name in counts)]
    rows: list[Cells] = [
        [name, *(count(part[number]) for part in counts.values())] for number, name in enumerate(classes)
    ]
    shown = rows[:_MOST_CLASSES]
    left = len(rows) - len(shown)
    shown += [[f"and {count(left)} more"] + [None] * len(counts)] if left else []
    shown.append(["all", *(count(sum(part)) for part in counts.values())])
    return table(columns, shown, width=width)


def ranges_table(columns: Sequence[ColumnRange], *, width: int) -> str:
    """What each column of a table holds, over the training examples."""
    titles = [Column("column"), *map(Column, ("lowest", "mean", "highest", "s.d.")), Column("categories")]
    rows: list[Cells] = [
        [
            count(each.number),
            *(short(value) for value in (each.low, each.mean, each.high, each.deviation)),
            None if each.categories is None else count(each.categories),
        ]
        for each in columns
    ]
    return table(titles, rows, width=width)


def sample_figure(images: Any, names: Sequence[str], stem: Path) -> Drawing:
    """The images in a grid, each with its class below it.

    Args:
        images: uint8 ``(N, C, H, W)``.
        names: The class of each.
        stem: The path without suffix.
    """
    shape = Shape(*images.shape[1:])
    tiles = [Tile(image.numpy().tobytes(), [(name, False)]) for image, name in zip(images, names, strict=True)]
    rows: list[list[Cell]] = [[number, name] for number, name in enumerate(names)]
    return gallery(tiles, shape, stem, ["place", "class"], rows)


def terminal_images(images: Any, names: Sequence[str], *, width: int) -> str:
    """The first images in colour, two rows of as many as fit, each character two pixels above one another.

    Args:
        images: uint8 ``(N, C, H, W)``; large ones are made small.
        names: The class of each.
        width: Columns of the terminal.
    """
    import numpy as np

    step = max(1, -(-max(images.shape[2:]) // _SIDE))
    pixels = np.asarray(images)[:, :, : images.shape[2] // step * step, : images.shape[3] // step * step]
    number, channels, high, wide = pixels.shape
    pixels = pixels.reshape(number, channels, high // step, step, wide // step, step).mean((3, 5))
    wide = pixels.shape[3]
    across = max(1, (width + _GAP) // (wide + _GAP))
    blocks = [
        [*_half_blocks(image), pad(shorten(clean(name), wide), wide)] for image, name in zip(pixels, names, strict=True)
    ]
    rows = [blocks[start : start + across] for start in range(0, min(len(blocks), _ROWS * across), across)]
    return "\n\n".join("\n".join((" " * _GAP).join(line) for line in zip(*row, strict=True)) for row in rows)


def _half_blocks(image: Any) -> list[str]:
    """Lines of an image ``(C, H, W)``: the upper pixel of each pair in the foreground, the lower one behind it."""
    high = image.shape[1]
    lines = []
    for top in range(0, high, 2):
        upper, lower = image[:, top], image[:, min(top + 1, high - 1)]
        cells = [
            f"\x1b[38;5;{_color(above)};48;5;{_color(below)}m▀" for above, below in zip(upper.T, lower.T, strict=True)
        ]
        lines.append("".join(cells) + _RESET)
    return lines


def _color(pixel: Any) -> int:
    """The number of a colour in the palette of 256: 24 greys, or a cube of 6 x 6 x 6."""
    if len(pixel) == 1:
        return 232 + min(23, int(pixel[0] * 24 / 256))
    red, green, blue = (min(5, int(value * 6 / 256)) for value in pixel)
    return 16 + 36 * red + 6 * green + blue
