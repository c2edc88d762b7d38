"""How every figure looks and is written: PNG, SVG and its numbers as CSV, the same bytes each time.

matplotlib is imported inside the functions: it takes a second, which most commands need not wait for.
"""

from __future__ import annotations

import csv
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdcli.disk import write_atomic
from kdcli.report.text import clean, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart; the light yellow is left out.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#333333",
)
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = "os^Dv<>"
_DPI = 150
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": BLACK,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "text.color": BLACK,
    "text.parse_math": False,  # a name may hold dollar signs
    "text.usetex": False,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "errorbar.capsize": 3,
    "svg.hashsalt": "kd",
    "svg.fonttype": "path",
}
Cell = str | float | None


@dataclass(frozen=True)
class Drawing:
    """The files of one figure."""

    png: Path
    svg: Path
    csv: Path


@contextmanager
def styled() -> Iterator[None]:
    """Draw in kd's style whatever the user's matplotlibrc says; letters that no font has become boxes, silently."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph ")
        yield


def panels(columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with some axes in a row; ``width`` and ``height`` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def write(figure: Figure, stem: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Drawing:
    """Write ``stem.png``, ``stem.svg`` and ``stem.csv``.

    Args:
        figure: The figure.
        stem: The path without suffix; its directory is made.
        header: The headings of the numbers.
        rows: The numbers that were drawn, in full precision; None is an empty cell.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    drawing = Drawing(*(stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg", "csv")))
    write_atomic(drawing.png, _png(figure))
    write_atomic(drawing.svg, _svg(figure))
    write_atomic(drawing.csv, csv_bytes(header, rows))
    return drawing


# Figure.savefig would place everything and draw it twice for each of the two.
def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # what comes next looks the same
    return buffer.getvalue()


def _svg(figure: Figure) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bytes:
    """A CSV in UTF-8 whose texts no spreadsheet takes for a formula; numbers in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([[_csv_cell(cell) for cell in row] for row in [header, *rows]])
    return buffer.getvalue().encode()


def _csv_cell(cell: Cell) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else repr(cell)
    text = clean(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def label(text: str, width: int = 30) -> str:
    """A name from anywhere as it may stand in a figure."""
    return shorten(clean(text), width)


def finish(
    axes: Axes, x_label: str, y_label: str, title: str, *, legend: bool = True, grid: Literal["x", "y"] = "y"
) -> None:
    """Put titles, grid and legend on the axes; an axis of epochs counts in whole numbers."""
    axes.set(xlabel=label(x_label, 40), ylabel=label(y_label), title="\n".join(textwrap.wrap(label(title, 100), 50)))
    axes.grid(axis=grid)
    if x_label == "epoch":
        from matplotlib.ticker import MaxNLocator

        low, high = axes.get_xlim()
        axes.set_xlim(min(low, (low + high) / 2 - 0.5), max(high, (low + high) / 2 + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend()
