"""What came of a search: its trials ranked by validation, and what its keys matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, wrap
from kdcli.report.units import count, decimals, percent, plural, short

_MOST_TRIALS = 30
_MOST_FAILURES = 12
_MEASURES = {"top1": "top-1", "nll": "NLL"}


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Args:
        number: Its place in the search, from 0.
        values: What was tried, by key.
        status: Of its run.
        val_top1: Top-1 on validation of the selected checkpoint, a fraction.
        val_nll: NLL there, in nats.
        test_errors: Errors on test.
        test_top1: Top-1 on test, a fraction.
        reason: Why it did not finish.
    """

    number: int
    values: Mapping[str, str | int | float]
    status: str
    val_top1: float | None = None
    val_nll: float | None = None
    test_errors: int | None = None
    test_top1: float | None = None
    reason: str = ""


def search_table(ranked: Sequence[TrialRow], others: Sequence[TrialRow], *, objective: str, width: int) -> str:
    """The trials that reached something, the best first, then the others, each with its reason.

    Args:
        ranked: The best first.
        others: Those that reached nothing.
        objective: What the best is: ``top1`` or ``nll``.
        width: Columns of the terminal.
    """
    blocks = []
    if ranked:
        blocks.append(table(*_cells(ranked[:_MOST_TRIALS]), width=width))
        left = len(ranked) - _MOST_TRIALS
        blocks.append(wrap(f"{plural(left, 'trial')} more in summary.json. " * (left > 0) + _note(objective), width))
    if others:
        said = [wrap(_failure(row), width) for row in others[:_MOST_FAILURES]]
        more = [f"  and {len(others) - _MOST_FAILURES} more"] * (len(others) > _MOST_FAILURES)
        head = f"{len(others)} of {plural(len(ranked) + len(others), 'trial')} reached nothing:"
        blocks.append("\n".join([head, *said, *more]))
    return "\n\n".join(blocks)


def _cells(ranked: Sequence[TrialRow]) -> tuple[list[Column], list[Cells]]:
    keys = list(ranked[0].values)
    columns = [
        Column("rank"),
        Column("trial", priority=2),
        *(Column(key, text=True) for key in keys),
        Column("val top-1 %"),
        Column("val NLL"),
        Column("test errors", priority=1),
        Column("test top-1 %", priority=3),
    ]
    cells: list[Cells] = [
        [
            str(rank),
            str(row.number),
            *(short(row.values[key]) for key in keys),
            percent(row.val_top1),
            decimals(row.val_nll, 4),
            count(row.test_errors),
            percent(row.test_top1),
        ]
        for rank, row in enumerate(ranked, 1)
    ]
    return columns, cells


def _note(objective: str) -> str:
    first, second = _MEASURES[objective], _MEASURES["nll" if objective == "top1" else "top1"]
    return (
        f"Ranked by {first}, then {second}, on validation; the test set has no say in it. "
        "The best of many trials is partly luck: sweep it over seeds before you trust the difference."
    )


def _failure(row: TrialRow) -> str:
    values = " ".join(f"{key}={short(value)}" for key, value in row.values.items())
    return clean(f"  trial {row.number}  {values}  {row.status}" + (f": {row.reason}" if row.reason else ""))


def importance_line(importance: Mapping[str, float]) -> str:
    """What each key matters for being among the best quarter of the trials, the most first."""
    ordered = sorted(importance.items(), key=lambda item: -item[1])
    return ", ".join(f"{clean(key)} {share:.2f}" for key, share in ordered)
