"""The table of a study: what was found beside what the paper says."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, wrap
from kdcli.report.units import decimals, mean_sd

COLUMNS = (
    Column("", text=True),
    Column("paper"),
    Column("ours"),
    Column("difference", priority=2),
    Column("verdict", text=True),
    Column("why", text=True),
    Column("note", text=True),
)
_NOTES = 2  # the last columns, which a terminal has no room for


@dataclass(frozen=True)
class StudyRow:
    """One number of a study.

    Args:
        name: What was measured.
        values: Ours, one a seed.
        paper: The paper's, where it has one.
        verdict: Whether that is what was expected, in a word or two.
        note: What one should know beside it.
        digits: Decimals to show.
        why: Why it is not like for like with the paper's.
    """

    name: str
    values: Sequence[float]
    paper: float | None = None
    verdict: str = ""
    note: str = ""
    digits: int = 1
    why: str = ""


def study_cells(rows: Sequence[StudyRow]) -> list[Cells]:
    """The cells under `COLUMNS`."""
    return [_cells(row) for row in rows]


def _cells(row: StudyRow) -> Cells:
    paper = "" if row.paper is None else f"{row.paper:,.{row.digits}f}".removesuffix("." + "0" * row.digits)
    ours = _ours(row)
    difference = ""
    if row.values and row.paper is not None:
        difference = f"{statistics.fmean(row.values) - row.paper:+,.{row.digits}f}"
    return [row.name, paper, ours, difference, row.verdict, row.why, row.note]


def _ours(row: StudyRow) -> str:
    smallest = 10.0**-row.digits
    if row.values and all(0 < abs(value) < smallest / 2 for value in row.values):
        return f"< {decimals(smallest, row.digits)} ({len(row.values)})"
    return mean_sd(row.values, lambda value: decimals(value, row.digits))


def study_table(rows: Sequence[StudyRow], *, width: int) -> str:
    """The rows as a table for a terminal, the notes below it."""
    blocks = [table(COLUMNS[:-_NOTES], [cells[:-_NOTES] for cells in study_cells(rows)], width=width)]
    if any(len(row.values) > 1 for row in rows):
        blocks.append(wrap("Mean ± standard deviation (number of seeds).", width))
    if notes := [wrap(f"{row.name}: {said}", width) for row in rows for said in (row.why, row.note) if said]:
        blocks.append("\n".join(notes))
    return "\n\n".join(blocks)


def study_markdown(rows: Sequence[StudyRow]) -> str:
    """The rows as a table in Markdown."""
    body = [[_escaped(cell or "") for cell in cells] for cells in study_cells(rows)]
    head = [column.title for column in COLUMNS]
    rule = [":--" if column.text else "--:" for column in COLUMNS]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body]) + "\n"


def _escaped(cell: str) -> str:
    safe = clean(cell).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    return "".join("\\" + mark if mark in "|[]`*_" else mark for mark in safe)
