"""The report of a sweep: one HTML file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdcli.report.html import Section, escape, figure_html, mapping_html, page, paragraphs
from kdcli.report.plots import Drawing
from kdcli.report.sweep import SweepGroup, SweepRow, rank, reference_lines, why_unranked
from kdcli.report.sweep_figures import Picture
from kdcli.report.sweep_grid import grid_note, swept_values
from kdcli.report.sweep_table import sweep_cells, unfinished
from kdcli.report.sweep_words import sweep_lead, sweep_remarks, table_note
from kdcli.report.tables import Cells, Column
from kdcli.report.units import plural

_MOST_ON_A_LINE = 5
_BUYS = (
    "Top-1 on the test set over what a network costs; the dotted line joins those that no other one beats in both. "
    "Choose a size for what you can afford, and everything else by validation."
)
_LEFT_OUT = ("seeds", "test top-1 %")  # the links to the runs and the errors say as much


@dataclass(frozen=True)
class SweepFacts:
    """What stands beside the results of a sweep.

    Args:
        command: What its jobs are: ``train-teacher`` or ``distill-student``.
        path: The sweep's directory.
        smoke: It was a smoke run.
        shared: The configuration that all its jobs have in common.
        environment: The content of environment.json.
        repeat: The command that runs the sweep again.
        best: The command that runs the best job again; None where none is the best.
    """

    command: str
    path: str
    smoke: bool
    shared: Mapping[str, Any]
    environment: Mapping[str, Any]
    repeat: str
    best: str | None


def sweep_page(
    rows: Sequence[SweepRow], facts: SweepFacts, pictures: Sequence[Picture], tradeoff: Drawing | None = None
) -> str:
    """The report.

    Args:
        rows: The jobs in grid order.
        facts: What stands beside them.
        pictures: The figures.
        tradeoff: What accuracy costs.
    """
    groups, failures = rank(rows), unfinished(rows)
    sections = []
    if pictures or grid_note(rows):
        sections.append(Section(f"By {' and '.join(swept_values(rows))}", _pictures(rows, pictures)))
    if groups:
        title = "In the order of the grid" if why_unranked(rows) else "Ranked by validation"
        said = paragraphs([table_note(rows), *sweep_remarks(rows, smoke=facts.smoke)])
        sections.append(Section(title, _ranked(rows, groups) + said))
    if tradeoff is not None:
        sections.append(
            Section("What it buys", figure_html(tradeoff.svg, "Accuracy and its costs") + paragraphs([_BUYS]))
        )
    if failures:
        sections.append(Section(f"{len(failures)} of {plural(len(rows), 'job')} did not finish", _failures(failures)))
    sections += [
        Section("Configuration of all jobs", mapping_html(facts.shared)),
        Section("Environment", mapping_html(facts.environment)),
        Section("Run it again", _commands(facts)),
    ]
    return page(f"{facts.command}: a sweep of {plural(len(rows), 'job')}", sweep_lead(rows), sections)


def _pictures(rows: Sequence[SweepRow], pictures: Sequence[Picture]) -> str:
    figures = [figure_html(one.drawing.svg, one.caption) for one in pictures]
    note = grid_note(rows)
    return "\n".join([*figures, *[paragraphs([note])] * bool(note)])


def _ranked(rows: Sequence[SweepRow], groups: Sequence[SweepGroup]) -> str:
    columns, ranked, references = sweep_cells(groups, reference_lines(rows))
    measures = 1 + len(groups[0].overrides)
    kept = [index for index, column in enumerate(columns) if index < measures or column.title not in _LEFT_OUT]
    cells = [[row[index] for index in kept] for row in [*ranked, *references]]
    links = [*(_links(group.rows) for group in groups), *[""] * len(references)]
    return _linked_table([columns[index] for index in kept], cells, links, place=measures)


def _failures(rows: Sequence[SweepRow]) -> str:
    columns = [Column("job", text=True), Column("status", text=True), Column("reason", text=True)]
    cells: list[Cells] = [[row.label, row.status, row.reason] for row in rows]
    return _linked_table(columns, cells, [_links([row]) for row in rows], place=0)


def _links(rows: Sequence[SweepRow]) -> str:
    """Links to the jobs' directories; a few stay on one line."""
    links = [f'<a href="{escape(row.run)}/">{escape(row.run)}</a>' for row in rows]
    return ("&nbsp;" if len(links) <= _MOST_ON_A_LINE else " ").join(links)


def _linked_table(columns: Sequence[Column], rows: Sequence[Cells], links: Sequence[str], place: int) -> str:
    """A table without its empty columns, and with one more before column ``place``, of trusted HTML: the links."""
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    kinds = ["" if column.text else ' class="number"' for column in columns]
    before = sum(index < place for index in kept)
    head = [f'<th scope="col"{kinds[index]}>{escape(columns[index].title)}</th>' for index in kept]
    head.insert(before, '<th scope="col">run</th>')
    lines = ["".join(head)]
    for row, link in zip(rows, links, strict=True):
        cells = [f"<td{kinds[index]}>{escape(row[index] or '')}</td>" for index in kept]
        cells.insert(before, f"<td>{link}</td>")
        lines.append("".join(cells))
    body = "\n".join(f"<tr>{line}</tr>" for line in lines[1:])
    return f'<div class="wide"><table>\n<thead><tr>{lines[0]}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _commands(facts: SweepFacts) -> str:
    commands = {"The best job": facts.best, "The whole sweep": facts.repeat}
    parts = [
        f"<p>{escape(name)}:</p>\n<pre><code>{escape(command)}</code></pre>"
        for name, command in commands.items()
        if command is not None
    ]
    return "\n".join([*parts, f"<p>Sweep: {escape(facts.path)}</p>"])
