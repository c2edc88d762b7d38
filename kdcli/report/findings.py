"""The parts of a run's report that show its networks' answers: figures drawn, tables, and a word on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.report.confusion import MOST_NAMED, confusion
from kdcli.report.gallery import Shape, Tile, gallery, tile_lines
from kdcli.report.html import Section, figure_html, folded, paragraphs, table_html
from kdcli.report.plots import Cell
from kdcli.report.reliability import Calibrated, reliability
from kdcli.report.soft_targets import soft_targets
from kdcli.report.tables import Cells, Column
from kdcli.report.units import count, decimals, milliseconds, percent, plural, size, times

if TYPE_CHECKING:
    from kdcli.schema.findings import Example, Findings, Gallery, NetworkFindings

_COST_COLUMNS = (
    Column("", text=True),
    Column("network", text=True),
    Column("parameters"),
    Column("MACs"),
    Column("size"),
    Column("ms, one example"),
)
_CALIBRATION_COLUMNS = (
    Column("", text=True),
    Column("NLL"),
    Column("ECE %"),
    Column("fitted T"),
    Column("NLL with T"),
    Column("ECE % with T"),
)
_TITLES = {"disagree": "Where student and teacher disagree", "wrong": "Where both are wrong"}
_LISTED = 24


def finding_sections(found: Findings, figures: Path) -> list[Section]:
    """Draw what was found, and say what it means.

    Args:
        found: The content of findings.json.
        figures: The folder of the figures.
    """
    sections = [
        Section("Size and speed", _costs(found.networks)),
        Section("Which classes are confused", _confusions(found, figures)),
        Section("How far its confidence can be trusted", _calibration(found, figures)),
        *(_gallery(found, each, figures) for each in found.galleries),
    ]
    if found.soft_targets:
        sections.append(Section("What the soft targets look like", _soft(found, figures)))
    return sections


def _costs(networks: Sequence[NetworkFindings]) -> str:
    rows: list[Cells] = [
        [
            each.name,
            each.model,
            count(each.cost.parameters),
            count(each.cost.macs),
            size(each.cost.bytes),
            f"{milliseconds(each.cost.latency.median)} / {milliseconds(each.cost.latency.p90)}",
        ]
        for each in reversed(networks)
    ]
    said = ["Time from raw input to logits, median / 90th percentile, measured when the run ended."]
    own, teacher = networks[0].cost, networks[-1].cost
    if networks[0].name == "student" and teacher.macs > 0:  # an ensemble selection answers from memory
        work, time = teacher.macs / own.macs, teacher.latency.median / own.latency.median
        less = f"{_less(work, 'fewer', 'more')} multiplications and {_less(time, 'less', 'more')} time"
        said.insert(0, f"For one example the student needs {less} than its teacher.")
    return table_html(_COST_COLUMNS, rows) + paragraphs(said)


def _less(factor: float, less: str, more: str) -> str:
    return f"{times(1 / factor)} times {more}" if factor < 1 else f"{times(factor)} times {less}"


def _confusions(found: Findings, figures: Path) -> str:
    own = found.networks[0]
    parts = []
    if own.confusion is not None:
        drawn = confusion(own.confusion, found.classes, figures / "confusion", title=f"{own.name}: % of each class")
        caption = f"Confusion matrix of the {own.name} on the test set, in percent of each class"
        parts.append(figure_html(drawn.svg, caption))
    rows: list[Cells] = [
        [found.classes[each.label], found.classes[each.prediction], count(each.times)] for each in own.confused
    ]
    table = table_html([Column("label", text=True), Column("taken for", text=True), Column("times")], rows)
    if not rows:
        parts.append(paragraphs(["Not a single test example is classified wrongly."]))
    elif len(found.classes) > MOST_NAMED:
        parts.append(table)
    else:
        parts.append(folded(f"the {plural(len(rows), 'pair')} confused most", table))
    return "\n".join(parts)


def _calibration(found: Findings, figures: Path) -> str:
    networks = [Calibrated(each.name, each.test.ece, each.reliability, each.scaled) for each in found.networks]
    drawn = reliability(networks, figures / "reliability")
    rows: list[Cells] = [
        [
            each.name,
            decimals(each.test.nll, 4),
            percent(each.test.ece),
            *(
                [None] * 3
                if each.scaled is None
                else [decimals(each.scaled.temperature, 2), decimals(each.scaled.nll, 4), percent(each.scaled.ece)]
            ),
        ]
        for each in reversed(found.networks)
    ]
    said = [
        "Of a network that can be trusted, of the answers given with 80 % confidence 80 % are right: the dotted line. "
        "Below it a network is too sure of itself. ECE is the mean distance to that line on the test set."
    ]
    return figure_html(drawn.svg, "Reliability diagram") + table_html(_CALIBRATION_COLUMNS, rows) + paragraphs(said)


def _gallery(found: Findings, part: Gallery, figures: Path) -> Section:
    alone = len(found.networks) == 1
    title = "What it gets wrong" if alone else _TITLES[part.kind]
    if not part.examples:
        return Section(title, paragraphs(["Nowhere on the test set."]))
    shown = len(part.examples)
    said = f"{plural(part.total, 'test example')}"
    said += "." if shown == part.total else f"; these are the {shown} that are answered the most surely."
    drawn = _drawn(found, part, figures)
    return Section(title, (drawn or _listed(found, part.examples)) + paragraphs([said]))


def _drawn(found: Findings, part: Gallery, figures: Path) -> str | None:
    images = found.pictures.pixels() if found.pictures is not None else None
    if found.pictures is None or images is None:
        return None
    shape = Shape(found.pictures.channels, found.pictures.height, found.pictures.width)
    short = {each.name: each.name if len(found.networks) == 1 else each.name[0].upper() for each in found.networks}
    short |= {"network": "says"}
    kept = [each for each in part.examples if each.index in images]
    tiles = [
        Tile(images[each.index], tile_lines(found.classes[each.label], _said(found, each), short)) for each in kept
    ]
    header = [
        "test example",
        "label",
        *(f"{name} {what}" for name in short if name in _names(found) for what in ("says", "confidence")),
    ]
    rows: list[list[Cell]] = [
        [each.index, found.classes[each.label], *(cell for pair in _said(found, each).values() for cell in pair)]
        for each in kept
    ]
    drawing = gallery(tiles, shape, figures / part.kind, header, rows)
    legend = ", ".join(
        f"{short[name]} {name}" for name in _names(found) if short[name] != name and len(found.networks) > 1
    )
    return figure_html(drawing.png, f"Test images: {part.kind}") + (paragraphs([legend + "."]) if legend else "")


def _names(found: Findings) -> list[str]:
    return [each.name for each in found.networks]


def _said(found: Findings, example: Example) -> Mapping[str, tuple[str, float]]:
    return {
        name: (found.classes[example.answers[name].prediction], example.answers[name].confidence)
        for name in _names(found)
    }


def _listed(found: Findings, examples: Sequence[Example]) -> str:
    columns = [Column("test example"), Column("label", text=True), *(Column(name, text=True) for name in _names(found))]
    rows: list[Cells] = [
        [
            count(each.index),
            found.classes[each.label],
            *(f"{said}, {100 * confidence:.0f} %" for said, confidence in _said(found, each).values()),
        ]
        for each in examples[:_LISTED]
    ]
    return table_html(columns, rows)


def _soft(found: Findings, figures: Path) -> str:
    pictures = found.pictures
    images = (pictures.pixels() if pictures is not None else None) or {}
    shape = Shape(pictures.channels, pictures.height, pictures.width) if pictures is not None and images else None
    drawn = soft_targets(found.soft_targets, found.classes, images, shape, figures / "soft-targets")
    who = "the teacher says" if found.soft_targets_of == "teacher" else "the network would teach"
    said = (
        f"What {who} of a few test examples that it gets right, the surest first. At T = 1 hardly more than the label "
        "is left; a higher temperature shows which wrong classes it finds likelier than others: the dark knowledge "
        "that a student learns from."
    )
    return figure_html(drawn.svg, "Soft targets at several temperatures") + paragraphs([said])
