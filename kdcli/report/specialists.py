"""What specialists came to, in words: the last lines of ``kd train-specialists``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import wrap
from kdcli.report.units import count, decimals, duration, p_value, percent, plural
from kdcli.report.verdict import RESULT_COLUMNS, SIGNIFICANT, SMOKE, last_lines, result_row

if TYPE_CHECKING:
    from kdcli.schema.results import CoverageResult, SpecialistsSummary, Summary

COVERAGE_COLUMNS = (
    Column("specialists covering"),
    Column("test examples"),
    Column("delta in correct"),
    Column("relative"),
)
_MANY = 10


def specialists_verdict(summary: Summary, *, width: int, smoke: bool = False, page: str | None = None) -> str:
    """The end of the command: generalist, baseline and combination, where they differ, and what to do next.

    Args:
        summary: The run's result.
        width: Columns of the terminal.
        smoke: The run was a smoke run: said, and kept up in the next command.
        page: Where its report is, if it has one.
    """
    said = [SMOKE] * smoke + specialists_sentences(summary)
    blocks = [
        table(RESULT_COLUMNS, specialists_rows(summary), width=width),
        "\n".join(wrap(sentence, width) for sentence in said),
        table(COVERAGE_COLUMNS, coverage_rows(summary), width=width),
        last_lines(summary, smoke=smoke, page=page),
    ]
    return "\n\n".join(blocks)


def specialists_rows(summary: Summary) -> list[Cells]:
    """The cells under `RESULT_COLUMNS`: the generalist, the one that was trained on, and all together."""
    found, teacher = _found(summary), summary.teacher
    assert teacher is not None
    rows = [result_row("generalist", teacher.test, count(teacher.parameters))]
    if summary.baseline is not None:
        rows.append(result_row("trained on", summary.baseline.test, count(teacher.parameters)))
    return [*rows, result_row(f"with {len(found.sets)} specialists", summary.test, count(summary.parameters))]


def coverage_rows(summary: Summary) -> list[Cells]:
    """The cells under `COVERAGE_COLUMNS`."""
    return [_coverage_row(row) for row in _found(summary).coverage]


def specialists_sentences(summary: Summary) -> list[str]:
    """What the numbers mean, the most important sentence first."""
    found = _found(summary)
    lines = [_compared("the generalist", found.only_combined, found.only_generalist, found.p_value)]
    if summary.baseline is not None:
        baseline = summary.baseline
        rival = "the generalist trained on for as many steps"
        lines.append(_compared(rival, baseline.only_student, baseline.only_baseline, baseline.p_value))
    sets = "; ".join(" ".join(classes) for classes in found.sets)
    lines.append(f"The classes of the specialists: {sets}.")
    lines.append(f"{percent(found.asked)} % of the test examples were put to any.")
    if summary.val is not None and found.generalist_val is not None:
        lines.append(
            f"On validation: {plural(summary.val.errors, 'error')} (NLL {decimals(summary.val.nll, 4)}) with them, "
            f"{count(found.generalist_val.errors)} ({decimals(found.generalist_val.nll, 4)}) without."
        )
    lines.append(
        f"{plural(summary.epochs, 'epoch')} ({plural(summary.steps, 'step')} each) in {duration(summary.wall_seconds)}."
    )
    return lines


def _found(summary: Summary) -> SpecialistsSummary:
    assert summary.specialists is not None
    return summary.specialists


def _compared(rival: str, ours: int, theirs: int, p: float) -> str:
    counts = f"Against {rival}: {plural(ours, 'test example')} more are right and {count(theirs)} fewer ({p_value(p)}"
    return f"{counts}, McNemar)" + (": within the noise." if p >= SIGNIFICANT else ".")


def _coverage_row(row: CoverageResult) -> Cells:
    number = f"{row.covered_by}" + " or more" * (row.covered_by == _MANY)
    relative = None if row.relative is None else f"{100 * row.relative:+.1f} %"
    return [number, count(row.n), f"{row.delta:+d}", relative]
