"""The table of a sweep, for a terminal and for a page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from kdcli.report.sweep import ReferenceLine, SweepGroup, SweepRow, rank, reference_lines
from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import wrap
from kdcli.report.units import decimals, percent, plural

_MOST_GROUPS = 40
_MOST_FAILURES = 12


def sweep_table(rows: Sequence[SweepRow], *, width: int) -> str:
    """The ranked groups of jobs above what they are compared with, then the jobs that did not finish, with reasons.

    Args:
        rows: The jobs in grid order.
        width: Columns of the terminal.
    """
    groups = rank(rows)
    blocks = []
    if groups:
        columns, *cells = sweep_cells(groups[:_MOST_GROUPS], reference_lines(rows))
        blocks.append(table(columns, [*cells[0], *cells[1]], width=width))
    if len(groups) > _MOST_GROUPS:
        blocks.append(f"{plural(len(groups) - _MOST_GROUPS, 'setting')} more in the report.")
    failures = unfinished(rows)
    if failures:
        said = [wrap(_failure(row), width) for row in failures[:_MOST_FAILURES]]
        more = [f"  and {len(failures) - _MOST_FAILURES} more"] * (len(failures) > _MOST_FAILURES)
        blocks.append("\n".join([f"{len(failures)} of {len(rows)} jobs did not finish:", *said, *more]))
    return "\n\n".join(blocks)


def unfinished(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """The jobs that came to no result."""
    return [row for row in rows if row.status != "finished"]


def _failure(row: SweepRow) -> str:
    return f"  {row.label}  {row.status}" + (f": {row.reason}" if row.reason else "")


def sweep_cells(
    groups: Sequence[SweepGroup], lines: Sequence[ReferenceLine]
) -> tuple[list[Column], list[Cells], list[Cells]]:
    """The columns, the cells of the ranked groups, and those of what they are compared with."""
    keys = list(dict.fromkeys(key for group in groups for key in group.overrides))
    columns = [
        Column("rank" if keys and any(group.rank for group in groups) else ""),
        *(Column(key, text=True) for key in keys),
        Column("seeds"),
        Column("val top-1 %"),
        Column("val NLL", priority=2),
        Column("test errors", priority=1),
        Column("test top-1 %", priority=3),
        Column("agreement %", priority=4),
    ]
    several = any(len(group.rows) > 1 for group in groups)
    alone = "student" if lines else "network"
    ranked: list[Cells] = [
        _cells(str(group.rank or "") if keys else alone, keys, group, len(group.rows) * several) for group in groups
    ]
    compared = [(line, len(line.values("test_errors"))) for line in lines]
    return columns, ranked, [_cells(line.kind, keys, line, n if n > 1 else 0) for line, n in compared if n]


def _cells(name: str, keys: Sequence[str], measured: SweepGroup | ReferenceLine, seeds: int) -> list[str | None]:
    return [
        name,
        *(measured.overrides.get(key) for key in keys),
        str(seeds or ""),
        spread(measured.values("val_top1"), percent),
        spread(measured.values("val_nll"), lambda value: decimals(value, 4)),
        errors(measured.values("test_errors")),
        spread(measured.values("test_top1"), percent),
        spread(measured.values("agreement"), percent),
    ]


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Mean and standard deviation over seeds; one value stands alone."""
    if len(values) < 2:
        return show(values[0]) if values else ""
    return f"{show(statistics.fmean(values))} ± {show(statistics.stdev(values))}"


def errors(values: Sequence[float]) -> str:
    """Errors: a count, or with one decimal their mean and standard deviation over seeds."""
    return spread(values, lambda value: decimals(value, 0 if len(values) == 1 else 1))
