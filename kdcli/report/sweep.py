"""The table of a sweep: its jobs ranked by validation, never by the test set."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, wrap
from kdcli.report.units import decimals, mean_sd, percent

_SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class SweepRow:
    """One job of a sweep.

    Args:
        label: Its name.
        overrides: The swept keys with this job's values, in the order of the command line.
        status: Of its run: ``finished``, ``failed``, ``diverged``, ``interrupted``, ``created``, ``running``.
        val_top1: Top-1 on validation of the selected checkpoint, a fraction; None without validation.
        val_nll: NLL there, in nats.
        test_errors: Errors on test.
        test_top1: Top-1 on test, a fraction.
        agreement: Agreement with the teacher on test, a fraction.
        reason: Why the job failed.
    """

    label: str
    overrides: Mapping[str, str]
    status: str
    val_top1: float | None = None
    val_nll: float | None = None
    test_errors: int | None = None
    test_top1: float | None = None
    agreement: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class SweepGroup:
    """The finished jobs that differ by seed only.

    Args:
        overrides: What they have in common.
        rows: The jobs.
        rank: From 1, the best on validation; None where not all groups of the sweep have a validation part.
    """

    overrides: Mapping[str, str]
    rows: Sequence[SweepRow] = field(repr=False)
    rank: int | None = None

    def values(self, name: str) -> list[float]:
        """What the jobs have of a measure."""
        return [value for row in self.rows if (value := getattr(row, name)) is not None]


def rank(rows: Sequence[SweepRow]) -> list[SweepGroup]:
    """Groups of finished jobs, the best first: by mean ``val/top1``, then mean ``val/nll``; else in grid order.

    Jobs whose overrides differ by ``seed`` or ``data_seed`` alone make one group.
    """
    groups: dict[tuple[tuple[str, str], ...], list[SweepRow]] = {}
    for row in rows:
        if row.status == "finished":
            own = tuple((key, value) for key, value in row.overrides.items() if key not in _SEEDS)
            groups.setdefault(own, []).append(row)
    if any(row.val_top1 is None or row.val_nll is None for jobs in groups.values() for row in jobs):
        return [SweepGroup(dict(own), jobs) for own, jobs in groups.items()]
    ordered = sorted(groups.items(), key=lambda item: _merit(item[1]))
    return [SweepGroup(dict(own), jobs, place) for place, (own, jobs) in enumerate(ordered, 1)]


def _merit(jobs: Sequence[SweepRow]) -> tuple[float, float]:
    top1 = statistics.fmean(row.val_top1 for row in jobs if row.val_top1 is not None)
    return -top1, statistics.fmean(row.val_nll for row in jobs if row.val_nll is not None)


def sweep_table(rows: Sequence[SweepRow], *, width: int) -> str:
    """The ranked groups of jobs, then those that did not finish, each with its reason.

    Args:
        rows: The jobs in grid order.
        width: Columns of the terminal.
    """
    groups = rank(rows)
    ranked = bool(groups) and groups[0].rank is not None
    blocks = []
    if groups:
        blocks.append(table(*sweep_cells(groups), width=width))
        blocks.append(wrap(_note(ranked, seeds=max(len(group.rows) for group in groups) > 1), width))
    unfinished = [row for row in rows if row.status != "finished"]
    if unfinished:
        blocks.append("\n".join([f"{len(unfinished)} of {len(rows)} jobs did not finish:", *map(_failure, unfinished)]))
    return "\n\n".join(blocks)


def _failure(row: SweepRow) -> str:
    return f"  {clean(row.label)}  {row.status}" + (f": {clean(row.reason)}" if row.reason else "")


def sweep_cells(groups: Sequence[SweepGroup]) -> tuple[list[Column], list[Cells]]:
    """The columns and cells of the ranked groups, for a table in a terminal or on a page."""
    keys = list(dict.fromkeys(key for group in groups for key in group.overrides))
    columns = [
        Column("rank"),
        *(Column(key, text=True) for key in keys),
        Column("val top-1 %"),
        Column("val NLL", priority=2),
        Column("test errors", priority=1),
        Column("test top-1 %", priority=3),
        Column("agreement %", priority=4),
    ]
    cells: list[Cells] = [
        [
            str(group.rank or ""),
            *(group.overrides.get(key) for key in keys),
            mean_sd(group.values("val_top1"), percent),
            mean_sd(group.values("val_nll"), lambda value: decimals(value, 4)),
            _errors(group.values("test_errors")),
            mean_sd(group.values("test_top1"), percent),
            mean_sd(group.values("agreement"), percent),
        ]
        for group in groups
    ]
    return columns, cells


def _errors(values: Sequence[float]) -> str:
    return mean_sd(values, lambda value: decimals(value, 0 if len(values) == 1 else 1))


def _note(ranked: bool, *, seeds: bool) -> str:
    said = "Ranked by top-1, then NLL, on validation."
    if not ranked:
        said = "No validation part: in the order of the grid, none is best."
    return said + (" Mean ± standard deviation (number of seeds)." if seeds else "")
