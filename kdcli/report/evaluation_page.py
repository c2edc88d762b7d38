"""The report of ``kd evaluate``: runs side by side, what their accuracy costs, how far they can be trusted."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kdcli.report.evaluation import measure_rows, most_confused
from kdcli.report.html import Section, escape, figure_html, page, paragraphs, table_html
from kdcli.report.plots import label
from kdcli.report.reliability import Calibrated, reliability
from kdcli.report.tables import Cells, Column
from kdcli.report.tradeoff import Priced, tradeoff
from kdcli.report.units import count, percent, plural

if TYPE_CHECKING:
    from kdcli.schema.results import EvaluatedRun, Evaluation

_CONFUSED = 10


def evaluation_page(evaluation: Evaluation, figures: Path, command: str) -> str:
    """The page.

    Args:
        evaluation: The content of evaluation.json.
        figures: The folder of the figures.
        command: The command that measures again.
    """
    sections = [Section("Side by side", _measures(evaluation))]
    if len({run.parameters for run in evaluation.runs}) > 1:
        drawn = tradeoff([_priced(number, run) for number, run in enumerate(evaluation.runs, 1)], figures / "tradeoff")
        sections.append(Section("What it buys", figure_html(drawn.svg, "Accuracy and its costs")))
    sections += [
        Section("Calibration", _calibration(evaluation, figures)),
        Section("Most often confused", _confused(evaluation)),
        Section("Measure again", f"<pre><code>{escape(command)}</code></pre>"),
    ]
    return page(f"evaluate: {plural(len(evaluation.runs), 'run')}", _lead(evaluation), sections)


def _lead(evaluation: Evaluation) -> str:
    best = min(evaluation.runs, key=lambda run: run.test.errors)
    number, of = evaluation.runs.index(best) + 1, count(best.test.n)
    said = f"{best.model} gets {percent(best.test.top1)} % of {of} test examples of {best.dataset} right"
    return f"{said}: {plural(best.test.errors, 'error')}" + (
        f", the fewest of {plural(len(evaluation.runs), 'run')} (number {number})." if len(evaluation.runs) > 1 else "."
    )


def _measures(evaluation: Evaluation) -> str:
    columns = [Column("", text=True), *(Column(f"{n}: {run.model}") for n, run in enumerate(evaluation.runs, 1))]
    rows: list[Cells] = [[name, *values] for name, values in measure_rows(evaluation.runs)]
    legend = [f"{number}: {run.run}" for number, run in enumerate(evaluation.runs, 1)]
    return table_html(columns, rows) + paragraphs(legend)


def _calibration(evaluation: Evaluation, figures: Path) -> str:
    networks = [
        Calibrated(label(f"{number}: {run.model}"), run.test.ece, run.reliability)
        for number, run in enumerate(evaluation.runs, 1)
    ]
    return figure_html(reliability(networks, figures / "reliability").svg, "Accuracy over confidence, on test")


def _confused(evaluation: Evaluation) -> str:
    columns = [Column("run"), Column("label", text=True), Column("taken for", text=True), Column("times")]
    rows: list[Cells] = [
        [count(number), evaluation.classes[label], evaluation.classes[prediction], count(times)]
        for number, run in enumerate(evaluation.runs, 1)
        for label, prediction, times in most_confused(run.confusion, _CONFUSED)
    ]
    return table_html(columns, rows)


def _priced(number: int, run: EvaluatedRun) -> Priced:
    alone = [each.median for each in run.latency if each.batch == 1]
    return Priced(
        name=f"{number}: {run.model}",
        kind=_kind(run),
        top1=[run.test.top1],
        parameters=run.parameters,
        macs=run.macs,
        bytes=run.bytes,
        seconds=alone[0] if alone else None,
    )


def _kind(run: EvaluatedRun) -> str:
    """What a run is to the others: a baseline lies in the run or sweep that it belongs to."""
    if {"baseline", "baselines"} & {*PurePath(run.run).parts[-2:]}:
        return "baseline"
    return "teacher" if run.command == "train-teacher" else "student"
