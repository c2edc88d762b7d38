"""The report of a run: one HTML file that needs no network and runs no script."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.report.specialists import COVERAGE_COLUMNS, coverage_rows, specialists_rows, specialists_sentences
from kdcli.report.style import CSS
from kdcli.report.tables import Cells, Column
from kdcli.report.text import clean
from kdcli.report.verdict import RESULT_COLUMNS, network_sentences, result_rows, student_sentences

if TYPE_CHECKING:
    from kdcli.schema.results import Summary

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MOST_EPOCHS = 200
_SENTENCE = 24  # characters from which a cell is prose
_EPOCH_COLUMNS = (
    "epoch",
    "temperature",
    "alpha",
    "lr",
    "train/loss",
    "train/hard",
    "train/soft",
    "val/top1",
    "val/nll",
    "val/agreement",
    "seconds",
)


@dataclass(frozen=True)
class Section:
    """A part of a report: ``html`` is trusted, so whatever comes from data went through `escape`."""

    title: str
    html: str


def escape(value: object) -> str:
    """Data as inert text: markup is escaped, control characters and changes of direction are visible."""
    return html.escape(clean(str(value)))


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole document: the title, the one sentence that matters, and the sections."""
    body = "\n".join(f"<section>\n<h2>{escape(one.title)}</h2>\n{one.html}\n</section>" for one in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{body}
</main>
</body>
</html>
"""


def run_report(
    summary: Summary,
    metrics: Sequence[Mapping[str, Any]],
    baseline_metrics: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    figures: Mapping[str, Path],
    reproduce: str,
    found: Sequence[Section] = (),
) -> str:
    """The report of a training.

    Args:
        summary: Its result.
        metrics: The lines of its metrics.jsonl.
        baseline_metrics: The baseline's lines; empty without one.
        config: The whole resolved configuration.
        environment: The content of environment.json.
        figures: PNG or SVG files by caption.
        reproduce: The command that runs it again.
        found: What is to be seen of its networks' answers.
    """
    rows, said = _told(summary)
    sections = [
        Section("Result", table_html(RESULT_COLUMNS, rows) + paragraphs(said[1:])),
        *_coverage(summary),
        *(Section(caption, figure_html(path, caption)) for caption, path in figures.items()),
        *found,
        Section("Epochs", _epochs(metrics, baseline_metrics)),
        Section("Configuration", mapping_html(config)),
        Section("Environment", mapping_html(environment)),
        Section("Run it again", f"<pre><code>{escape(reproduce)}</code></pre>\n<p>Run: {escape(summary.run)}</p>"),
    ]
    return page(f"{summary.command}: {summary.model} on {summary.dataset}", said[0], sections)


def _told(summary: Summary) -> tuple[list[Cells], list[str]]:
    """The rows of the result, and the sentences about it, the one that matters first."""
    if summary.specialists is not None:
        return specialists_rows(summary), specialists_sentences(summary)
    return result_rows(summary), (student_sentences if summary.teacher else network_sentences)(summary)


def _coverage(summary: Summary) -> list[Section]:
    if summary.specialists is None:
        return []
    return [Section("Coverage", table_html(COVERAGE_COLUMNS, coverage_rows(summary)))]


def paragraphs(sentences: Sequence[str]) -> str:
    """A paragraph a sentence."""
    return "\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def table_html(columns: Sequence[Column], rows: Sequence[Cells]) -> str:
    """A table; columns without a single value are left out."""
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    head = "".join(
        f'<th scope="col"{_kind(columns[i], columns[i].title)}>{escape(columns[i].title)}</th>' for i in kept
    )
    lines = ["".join(f"<td{_kind(columns[i], row[i] or '')}>{escape(row[i] or '')}</td>" for i in kept) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _kind(column: Column, text: str) -> str:
    """The class of a cell; a sentence keeps a width at which it can be read, and a narrow window scrolls."""
    if not column.text:
        return ' class="number"'
    return ' class="prose"' if len(text) > _SENTENCE else ""


def figure_html(path: Path, caption: str) -> str:
    """A PNG or SVG file inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img src="data:{_TYPES[path.suffix]};base64,{data}" alt="{escape(caption)}"></figure>'


def mapping_html(values: Mapping[str, Any]) -> str:
    """Nested plain data as a table of keys with dots."""
    rows = [[key, value] for key, value in _flat(values, "")]
    return folded(f"{len(rows)} values", table_html([Column("key", text=True), Column("value", text=True)], rows))


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            rows.append((f"{prefix}{key}", shown))
    return rows


def folded(summary: str, content: str) -> str:
    """Something long, folded until it is asked for; printed open."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def _epochs(metrics: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> str:
    other = {line["epoch"]: line.get("val/top1") for line in baseline}
    step = max(1, -(-len(metrics) // _MOST_EPOCHS))
    kept = [line for index, line in enumerate(metrics) if index % step == 0 or index == len(metrics) - 1]
    rows = [[*(_number(line.get(key)) for key in _EPOCH_COLUMNS), _number(other.get(line["epoch"]))] for line in kept]
    columns = [Column(title) for title in (*_EPOCH_COLUMNS, "baseline val/top1")]
    title = f"{len(metrics)} epochs" + (f", every {step}th is shown" if step > 1 else "")
    return folded(title, table_html(columns, rows))


def _number(value: float | str | None) -> str | None:
    return value if value is None or isinstance(value, str) else f"{value:.6g}"
