"""Runs side by side: the tables of ``kd evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kdcli.report.tables import Cells, Column, side_by_side, table_lines
from kdcli.report.text import clean, shorten, wrap
from kdcli.report.units import count, decimals, milliseconds, p_value, percent, plural, points, size

if TYPE_CHECKING:
    from kdcli.schema.results import EvaluatedRun, Evaluation, ReliabilityBin, TestMeasures

_CONFUSED = 5
_WIDEST_NAME = 24
_MEASURES: Sequence[tuple[str, Callable[[TestMeasures], str]]] = (
    ("errors", lambda part: count(part.errors)),
    ("top-1 %", lambda part: percent(part.top1)),
    ("top-5 %", lambda part: percent(part.top5)),
    ("NLL", lambda part: decimals(part.nll, 4)),
    ("Brier", lambda part: decimals(part.brier, 4)),
    ("ECE", lambda part: decimals(part.ece, 4)),
    ("RMSE", lambda part: decimals(part.rmse, 4)),
)
_FIDELITY: Sequence[tuple[str, Callable[[TestMeasures], str]]] = (
    ("agreement %", lambda part: percent(part.agreement)),
    ("KL to teacher", lambda part: decimals(part.kl_to_teacher, 4)),
)
_COSTS: Sequence[tuple[str, Callable[[EvaluatedRun], str]]] = (
    ("parameters", lambda run: count(run.parameters)),
    ("MACs", lambda run: count(run.macs)),
    ("size", lambda run: size(run.bytes)),
)
_Rows = list[tuple[str, list[str]]]


def evaluation_table(evaluation: Evaluation, *, width: int) -> str:
    """Measures, calibration and confusions of each run, a column a run; tables too wide are cut between runs.

    Args:
        evaluation: The content of ``evaluation.json``.
        width: Columns of the terminal.
    """
    runs = evaluation.runs
    legend = [f"{number}  {clean(run.run)}" for number, run in enumerate(runs, 1)]
    blocks = [
        "\n".join(legend),
        _side_by_side(measure_rows(runs), runs, width),
        wrap("Calibration on test: accuracy - confidence in points (examples), by confidence", width)
        + "\n"
        + _side_by_side(_calibration_rows(runs), runs, width),
        wrap("Most often confused on test (label as prediction: times)", width) + "\n" + _confusions(evaluation, width),
    ]
    if evaluation.paired:
        blocks.append(
            wrap("McNemar's test of each two, on the same test examples", width) + "\n" + _paired(evaluation, width)
        )
    return "\n\n".join(blocks)


def _paired(evaluation: Evaluation, width: int) -> str:
    numbers = {run.run: number for number, run in enumerate(evaluation.runs, 1)}
    lines = [
        f"{numbers[test.a]}, {numbers[test.b]}: {count(test.only_a)} only {numbers[test.a]} gets right, "
        f"{count(test.only_b)} only {numbers[test.b]}, {p_value(test.p_value)}"
        for test in evaluation.paired
    ]
    return "\n".join(wrap(line, width) for line in lines)


def measure_rows(runs: Sequence[EvaluatedRun]) -> _Rows:
    """Each measure's name and what each run has of it."""
    rows: _Rows = [("test examples", [count(run.test.n) for run in runs])]
    rows += [(f"test {name}", [show(run.test) for run in runs]) for name, show in [*_MEASURES, *_FIDELITY]]
    rows += [(f"train {name}", [show(run.train) for run in runs]) for name, show in [*_MEASURES[:2], *_FIDELITY]]
    rows += [(name, [show(run) for run in runs]) for name, show in _COSTS]
    for batch in sorted({each.batch for run in runs for each in run.latency}):
        rows.append((f"ms, batch {count(batch)} (p50 / p90)", [_latency(run, batch) for run in runs]))
    rows += _bias_rows(runs)
    return [row for row in rows if any(row[1])]


_BIASES = {
    "uncorrected": "as it is",
    "test": "tuned on test (not honest)",
    "val": "tuned on validation",
    "prior": "matched to the prior",
}


def _bias_rows(runs: Sequence[EvaluatedRun]) -> _Rows:
    """Errors, those among the classes in brackets, and the number that was added, for each way to correct a bias."""
    classes = next((run.bias.classes for run in runs if run.bias is not None), [])
    among = ", ".join(map(str, classes))
    return [
        (f"errors, bias of {among} {said}", [_corrected(run, way) for run in runs]) for way, said in _BIASES.items()
    ]


def _corrected(run: EvaluatedRun, way: str) -> str:
    found = None if run.bias is None else getattr(run.bias, way)
    if found is None:
        return ""
    return f"{count(found.errors)} ({count(found.errors_among)}) {found.offset:+.2f}"


def _latency(run: EvaluatedRun, batch: int) -> str:
    for each in run.latency:
        if each.batch == batch:
            return f"{milliseconds(each.median)} / {milliseconds(each.p90)}"
    return ""


def _calibration_rows(runs: Sequence[EvaluatedRun]) -> _Rows:
    bins = zip(*(run.reliability for run in runs), strict=True)
    rows = [
        (f"{100 * row[0].lower:.0f} to {100 * row[0].upper:.0f} %", [_calibration(one) for one in row]) for row in bins
    ]
    return [row for row in rows if any(row[1])]


def _calibration(one: ReliabilityBin) -> str:
    if one.accuracy is None or one.confidence is None:
        return ""
    return f"{points(one.accuracy - one.confidence)} ({count(one.count)})"


def _side_by_side(rows: _Rows, runs: Sequence[EvaluatedRun], width: int) -> str:
    """Tables under one another, each with as many runs as the width holds."""
    return side_by_side(len(runs), lambda part, room: _block(rows, runs, part, room), width)


def _block(rows: _Rows, runs: Sequence[EvaluatedRun], part: slice, width: int) -> list[str]:
    titles = [f"{number}: {shorten(_name(run), _WIDEST_NAME)}" for number, run in enumerate(runs, 1)]
    columns = [Column("", text=True), *map(Column, titles[part])]
    cells: list[Cells] = [[name, *values[part]] for name, values in rows]
    return table_lines(columns, cells, width=width)


def _name(run: EvaluatedRun) -> str:
    return run.model if run.members == 1 else f"{run.members} x {run.model}"


def _confusions(evaluation: Evaluation, width: int) -> str:
    lines = []
    for number, run in enumerate(evaluation.runs, 1):
        pairs = most_confused(run.confusion, _CONFUSED)
        names = [(clean(evaluation.classes[row]), clean(evaluation.classes[column])) for row, column, _ in pairs]
        said = [f"{row} as {column}: {count(pair[2])}" for (row, column), pair in zip(names, pairs, strict=True)]
        whole = f"{number}  " + (",  ".join(said) or plural(0, "error"))
        lines.append(wrap(whole, width))
    return "\n".join(lines)


def most_confused(confusion: Sequence[Sequence[int]], most: int) -> list[tuple[int, int, int]]:
    """The pairs of classes that are mistaken most often, as (label, prediction, times), the most frequent first.

    Args:
        confusion: Counts, labels in rows and predictions in columns.
        most: How many pairs at most.
    """
    pairs = [
        (label, predicted, times)
        for label, row in enumerate(confusion)
        for predicted, times in enumerate(row)
        if times and label != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]
