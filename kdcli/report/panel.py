"""What the live panel holds, for a terminal of any size."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import ConsoleDimensions, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdcli.report.course import Cohort, Place, by_merit, is_active
from kdcli.report.tables import Column, table_lines
from kdcli.report.text import clean, shorten
from kdcli.report.units import clock, count, decimals, percent, points, short

if TYPE_CHECKING:
    from kdcli.engine.results import MemberResult, Stopped

_WIDEST = 100
_ROWS = 12
_OTHER_LINES = 11  # of the panel, besides its networks
_FRAME = 4
_FEW = 2
_NO_BREAK = "\u00a0"
_COLUMNS = (
    Column("network", text=True),
    Column("total", priority=2),
    Column("hard", priority=4),
    Column("soft", priority=3),
    Column("val top-1"),
    Column("v teacher", priority=1),
    Column("val NLL", priority=5),
    Column("T", priority=6),
    Column("alpha", priority=7),
    Column("lr", priority=8),
)
_SETTINGS = range(7, 10)
_Row = list[str]


def draw_panel(
    cohort: Cohort,
    place: Place,
    members: Sequence[MemberResult | Stopped],
    remaining: float | None,
    size: ConsoleDimensions,
    saved: float | None = None,
) -> Panel:
    """The panel.

    Args:
        cohort: What is being trained.
        place: How far it is.
        members: The last epoch's results; empty before the first.
        remaining: Seconds to go, where that can be told.
        size: The terminal's.
        saved: How old the last checkpoint is, in seconds; None before the first.
    """
    width = min(size.width, _WIDEST)
    inner = max(width - _FRAME, 1)
    rows = [_row(name, member, cohort.teacher_top1) for name, member in zip(cohort.names, members, strict=False)]
    rows = rows or [_padded(name) for name in cohort.names]
    common = _common(rows)
    kept = [index for index in range(len(_COLUMNS)) if index not in common]
    room = max(1, min(_ROWS, size.height - _OTHER_LINES))
    shown = [[row[index] for index in kept] for row in _chosen(rows, _order(members) or range(len(rows)), room, cohort)]
    lines = table_lines([_COLUMNS[index] for index in kept], shown, width=inner)
    footer = [f"{_COLUMNS[index].title} {value}" for index, value in common.items()]
    footer += [f"{count(place.speed)} images/s"] * (place.speed > 0)
    footer += [f"ETA {clock(remaining)}"] * (remaining is not None)
    footer += [f"saved {clock(saved)} ago"] * (saved is not None)
    networks = _styled(lines, leads=len(members) > _FEW)
    content = Group(_bars(cohort, place), Text(), *networks, Text(), *_packed(footer, inner))
    title = Text(shorten(clean(cohort.title), max(inner - 2, 1)))
    return Panel(content, title=title, title_align="left", width=width, border_style="dim")


def _common(rows: Sequence[_Row]) -> dict[int, str]:
    """The settings that are the same for all networks that have them, by column."""
    values = {index: {row[index] for row in rows if row[index]} for index in _SETTINGS}
    return {index: each.pop() for index, each in values.items() if len(each) == 1}


def _padded(*cells: str) -> _Row:
    return [*cells, *[""] * (len(_COLUMNS) - len(cells))]


def _row(name: str, member: MemberResult | Stopped, teacher_top1: float | None) -> _Row:
    if not is_active(member):
        return _padded(name, "", "", "", "stopped" if member.divergence is None else "diverged")
    losses = [decimals(loss, 3) for loss in (member.total, member.hard, member.soft)]
    settings = [short(value) for value in (member.temperature, member.alpha, member.lr)]
    if member.val is None:
        return [name, *losses, "", "", "", *settings]
    behind = None if teacher_top1 is None else member.val.top1 - teacher_top1
    measures = [f"{percent(member.val.top1)} %", points(behind), decimals(member.val.nll, 4)]
    return [name, *losses, *measures, *settings]


def _order(members: Sequence[MemberResult | Stopped]) -> list[int]:
    """A student stays above its baseline; of more networks the best come first, those that stopped last."""
    best = by_merit(members) if len(members) > _FEW else list(range(len(members)))
    return best + [k for k in range(len(members)) if k not in set(best)]


def _chosen(rows: Sequence[_Row], order: Sequence[int], room: int, cohort: Cohort) -> list[_Row]:
    chosen = [rows[k] for k in order[:room]]
    if len(order) > room:
        chosen.append(_padded(f"and {len(order) - room} more"))
    if cohort.teacher_top1 is not None:
        chosen.append(_padded("teacher", "", "", "", f"{percent(cohort.teacher_top1)} %"))
    return chosen


def _bars(cohort: Cohort, place: Place) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    within = place.step / place.steps_per_epoch if place.steps_per_epoch else 0.0
    done = (place.epoch - 1 + within) / cohort.epochs
    steps = f"step {count(place.step)}/{count(place.steps_per_epoch)}" if place.steps_per_epoch else "step"
    for label, part in ((f"epoch {place.epoch}/{cohort.epochs}", done), (steps, within)):
        grid.add_row(
            label,
            ProgressBar(total=1.0, completed=part, complete_style="blue", finished_style="green"),
            f"{100 * part:.0f} %",
        )
    return grid


def _styled(lines: Sequence[str], *, leads: bool) -> list[Text]:
    styles = {0: "dim", 1: "bold" if leads else ""}
    return [Text(line, style=styles.get(index, ""), no_wrap=True) for index, line in enumerate(lines)]


def _packed(items: Sequence[str], width: int) -> list[Text]:
    whole = "   ".join(item.replace(" ", _NO_BREAK) for item in items)
    return [Text(line.replace(_NO_BREAK, " ")) for line in textwrap.wrap(whole, width)]
