"""The report of a study: one HTML file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcli.report.html import Section, escape, figure_html, mapping_html, page, paragraphs, table_html
from kdcli.report.study import COLUMNS, StudyRow, study_cells
from kdcli.report.units import plural
from kdcli.report.verdict import SMOKE

_SEEDS = "Ours: mean ± standard deviation (number of seeds)."


@dataclass(frozen=True)
class StudyFacts:
    """What a study is.

    Args:
        title: Its own.
        source: The paper.
        claim: What it tests.
        path: Its directory.
        smoke: It was a smoke run.
        reused: Which runs had been trained before, a sentence each.
    """

    title: str
    source: str
    claim: str
    path: str
    smoke: bool
    reused: Sequence[str]


def study_page(
    rows: Sequence[StudyRow],
    facts: StudyFacts,
    figures: Mapping[str, Path],
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    command: str,
) -> str:
    """The report.

    Args:
        rows: The numbers.
        facts: What the study is.
        figures: PNG or SVG files by caption.
        settings: The study with its parameters put in.
        environment: The content of environment.json.
        command: What runs it again.
    """
    said = [SMOKE] * facts.smoke + [f"{facts.source}. {facts.claim}"]
    below = [_SEEDS, *facts.reused]
    sections = [
        Section("What it tests", paragraphs(said)),
        Section("Paper and ours", table_html(COLUMNS, study_cells(rows)) + paragraphs(below)),
        *(Section(caption, figure_html(path, caption)) for caption, path in figures.items()),
        Section("Runs", mapping_html(settings["runs"])),
        Section("Environment", mapping_html(environment)),
        Section("Run it again", f"<pre><code>{escape(command)}</code></pre>\n<p>Study: {escape(facts.path)}</p>"),
    ]
    return page(facts.title, study_lead(rows), sections)


def study_lead(rows: Sequence[StudyRow]) -> str:
    """One sentence: how many numbers came out as expected."""
    judged = [row for row in rows if row.verdict]
    if not judged:
        return f"{plural(len(rows), 'number')}, none of which is held against an expectation."
    reached = sum(row.verdict == "as expected" for row in judged)
    return f"As expected: {reached} of {plural(len(judged), 'number')} that the study judges."
