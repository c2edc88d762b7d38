"""What a sweep shows in a terminal when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli.report.sweep import SweepRow
from kdcli.report.sweep_figures import terminal_grid
from kdcli.report.sweep_table import sweep_table
from kdcli.report.sweep_words import sweep_lead, sweep_remarks, table_note
from kdcli.report.text import wrap


def sweep_screen(rows: Sequence[SweepRow], *, smoke: bool, color: bool, width: int) -> str:
    """The table, the grid, and what they mean.

    Args:
        rows: The jobs in grid order.
        smoke: It was a smoke run.
        color: Lay colours behind the grid's numbers.
        width: Columns of the terminal.
    """
    said = [sweep_lead(rows), *sweep_remarks(rows, smoke=smoke)]
    grid = terminal_grid(rows, color=color, width=width)
    blocks = [
        sweep_table(rows, width=width),
        wrap(table_note(rows), width),
        grid or "",
        "\n".join(wrap(sentence, width) for sentence in said),
    ]
    return "\n\n".join(block for block in blocks if block)
