"""Images of the test set in a grid, each with its label and with what was said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.report.plots import BLACK, BLUE, RED, Cell, Drawing, label, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 8
_TILE = 1.12
_TEXT = 0.2
_NAME = 12
_GAP = 0.08


@dataclass(frozen=True)
class Shape:
    """How the bytes of an image are to be read: ``(channels, height, width)``."""

    channels: int
    height: int
    width: int

    def array(self, pixels: bytes) -> Any:
        """The image as matplotlib draws it: ``(height, width, 3)``, uint8."""
        import numpy as np

        image = np.frombuffer(pixels, np.uint8).reshape(self.channels, self.height, self.width)
        return np.broadcast_to(image, (3, self.height, self.width)).transpose(1, 2, 0)


@dataclass(frozen=True)
class Tile:
    """An image, and the lines below it: each a text, and whether it says what is wrong."""

    pixels: bytes
    lines: Sequence[tuple[str, bool]]


def gallery(
    tiles: Sequence[Tile], shape: Shape, stem: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> Drawing:
    """Images in rows of eight; what is wrong is marked by its colour and a cross.

    Args:
        tiles: The images.
        shape: Of all of them.
        stem: The path without suffix.
        header: The headings of the CSV.
        rows: Its rows.
    """
    from matplotlib.figure import Figure

    across, down = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    lines = max((len(tile.lines) for tile in tiles), default=0)
    ratio = shape.height / shape.width
    high = ratio * _TILE + _TEXT * lines + _GAP
    with styled():
        figure = Figure(figsize=(across * _TILE + _GAP, down * high + _GAP), dpi=150)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, across * _TILE + _GAP), ylim=(down * high + _GAP, 0))
        axes.axis("off")
        for place, tile in enumerate(tiles):
            left, top = _GAP + place % across * _TILE, _GAP + place // across * high
            _draw_tile(axes, tile, shape, left, top, ratio)
        return write(figure, stem, header, rows)


def _draw_tile(axes: Axes, tile: Tile, shape: Shape, left: float, top: float, ratio: float) -> None:
    width = _TILE - _GAP
    extent = (left, left + width, top + ratio * width, top)
    axes.imshow(shape.array(tile.pixels), extent=extent, interpolation="nearest", aspect="auto")
    for number, (text, wrong) in enumerate(tile.lines):
        place = top + ratio * width + _TEXT * (number + 0.6)
        color = RED if wrong else BLUE if number else BLACK
        axes.text(left, place, label(text, 20), size=7.5, color=color, va="center")


def tile_lines(
    label_name: str, answers: Mapping[str, tuple[str, float]], short: Mapping[str, str]
) -> list[tuple[str, bool]]:
    """What stands below an image: its label, and what each network says with how much confidence.

    Args:
        label_name: The right class.
        answers: Class and confidence, by network.
        short: What stands for each network's name.
    """
    lines = [(f"label {label(label_name, _NAME)}", False)]
    for name, (said, confidence) in answers.items():
        wrong = said != label_name
        lines.append((f"{short[name]} {label(said, 9)}, {100 * confidence:.0f} %{' ✗' if wrong else ''}", wrong))
    return lines
