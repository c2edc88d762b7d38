"""What specialists came to, in words: the last lines of ``kd train-specialists``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, wrap
from kdcli.report.units import count, decimals, duration, p_value, percent, plural
from kdcli.report.verdict import RESULT_COLUMNS, SIGNIFICANT, SMOKE, next_command, result_row

if TYPE_CHECKING:
    from kdcli.schema.results import CoverageResult, SpecialistsSummary, Summary

_COVERAGE_COLUMNS = (
    Column("specialists covering"),
    Column("test examples"),
    Column("delta in correct"),
    Column("relative"),
)
_MANY = 10


def specialists_verdict(summary: Summary, *, width: int, smoke: bool = False) -> str:
    """The end of the command: generalist, baseline and combination, where they differ, and what to do next.

    Args:
        summary: The run's result.
        width: Columns of the terminal.
        smoke: The run was a smoke run: said, and kept up in the next command.
    """
    found, teacher = summary.specialists, summary.teacher
    assert found is not None
    assert teacher is not None
    rows = [result_row("generalist", teacher.test, count(teacher.parameters))]
    if summary.baseline is not None:
        rows.append(result_row("trained on", summary.baseline.test, count(teacher.parameters)))
    rows.append(result_row(f"with {len(found.sets)} specialists", summary.test, count(summary.parameters)))
    said = [SMOKE] * smoke + _sentences(summary, found)
    places = [("run", summary.run), ("next", next_command(summary) + " --smoke" * smoke)]
    blocks = [
        table(RESULT_COLUMNS, rows, width=width),
        "\n".join(wrap(sentence, width) for sentence in said),
        table(_COVERAGE_COLUMNS, [_coverage_row(row) for row in found.coverage], width=width),
        "\n".join(f"{name:<5} {clean(place)}" for name, place in places),
    ]
    return "\n\n".join(blocks)


def _sentences(summary: Summary, found: SpecialistsSummary) -> list[str]:
    assert summary.teacher is not None
    sets = "; ".join(" ".join(classes) for classes in found.sets)
    lines = [
        f"The classes of the specialists: {sets}.",
        f"{percent(found.asked)} % of the test examples were put to any.",
        _compared("the generalist", found.only_combined, found.only_generalist, found.p_value),
    ]
    if summary.baseline is not None:
        baseline = summary.baseline
        rival = "the generalist trained on for as many steps"
        lines.append(_compared(rival, baseline.only_student, baseline.only_baseline, baseline.p_value))
    if summary.val is not None and found.generalist_val is not None:
        lines.append(
            f"On validation: {plural(summary.val.errors, 'error')} (NLL {decimals(summary.val.nll, 4)}) with them, "
            f"{count(found.generalist_val.errors)} ({decimals(found.generalist_val.nll, 4)}) without."
        )
    lines.append(
        f"{count(summary.epochs)} epochs ({count(summary.steps)} steps each) in {duration(summary.wall_seconds)}."
    )
    return lines


def _compared(rival: str, ours: int, theirs: int, p: float) -> str:
    counts = f"Against {rival}: {plural(ours, 'test example')} more are right and {count(theirs)} fewer ({p_value(p)}"
    return f"{counts}, McNemar)" + (": within the noise." if p >= SIGNIFICANT else ".")


def _coverage_row(row: CoverageResult) -> Cells:
    number = f"{row.covered_by}" + " or more" * (row.covered_by == _MANY)
    relative = None if row.relative is None else f"{100 * row.relative:+.1f} %"
    return [number, count(row.n), f"{row.delta:+d}", relative]
