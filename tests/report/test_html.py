from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kdcli.report.figures import Bar, bars
from kdcli.report.html import Section, escape, page, run_report, table_html
from kdcli.report.style import CSS
from kdcli.report.tables import Column
from kdcli.schema.results import Summary

Make = Callable[..., Summary]
VOID = {"meta", "img", "br", "hr", "link", "input"}
METRICS = [{"epoch": e, "train/loss": 0.5 / (e + 1), "val/top1": 0.9, "temperature": 4.0, "lr": 0.01} for e in range(5)]
BASELINE = [{"epoch": e, "val/top1": 0.875} for e in range(5)]


class Document(HTMLParser):
    """The elements, attributes and text of a page whose tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(
    summary: Summary, figures: Mapping[str, Path] | None = None, config: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    given: dict[str, Any] = {
        "metrics": METRICS,
        "baseline_metrics": BASELINE,
        "config": config or {"model": {"hidden": [800, 800], "name": "mlp"}, "epochs": 20},
        "environment": {"python": "3.11.7", "git": {"dirty": False}},
        "figures": figures or {},
        "reproduce": "kd distill-student teacher=latest temperature=20",
    }
    return run_report(summary, **(given | changes))


def assert_inert(document: Document) -> None:
    assert not set(document.tags) & {"script", "iframe", "object", "embed", "link", "base", "form", "a", "svg"}
    for tag, name, value in document.attributes:
        assert not name.startswith("on")
        assert name not in {"href", "srcset", "action", "style", "http-equiv"} or (tag, name) == ("meta", "http-equiv")
        assert name != "src" or value.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))


def test_the_page_is_one_file_that_asks_nobody_for_anything(summary: Make, tmp_path: Path) -> None:
    drawing = bars([Bar("a", 1.0)], tmp_path / "bars", x_label="errors", title="t")
    text = report(summary(), {"Bars": drawing.svg, "Bars again": drawing.png})
    document = Document(text)
    assert_inert(document)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in document.attributes
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert len(text) < 5 * 2**20
    sources = [value for tag, name, value in document.attributes if (tag, name) == ("img", "src")]
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == [
        drawing.svg.read_bytes(),
        drawing.png.read_bytes(),
    ]


def test_it_leads_with_what_distillation_gained(summary: Make) -> None:
    text = Document(report(summary())).text
    lead = text.index("Distillation gained 0.48 points of top-1")
    assert lead < text.index("Result") < text.index("Epochs") < text.index("Configuration") < text.index("Environment")
    assert text.index("Environment") < text.index("kd distill-student teacher=latest temperature=20")


def test_results_configuration_and_environment_are_in_tables(summary: Make) -> None:
    text = " ".join(Document(report(summary())).text.split())
    for shown in ("teacher74", "baseline146", "student98", "model.hidden[800, 800]", "model.namemlp", "git.dirtyfalse"):
        assert shown in text
    assert "66.7 % of the gap is closed" in text
    assert "McNemar" in text


def test_epochs_stand_beside_those_of_the_baseline(summary: Make) -> None:
    document = Document(report(summary()))
    assert "5 epochs" in document.text
    assert "baseline val/top1" in document.text
    assert document.text.count("0.875") == 5


def test_of_very_many_epochs_some_are_shown_and_it_is_said(summary: Make) -> None:
    metrics = [{"epoch": e, "train/loss": 0.1} for e in range(3000)]
    text = report(summary(), metrics=metrics, baseline_metrics=[])
    assert "3000 epochs, every 15th is shown" in text
    assert text.count("<tr>") < 250
    assert ">2999<" in text


def test_a_teacher_has_a_report_too(teacher_summary: Make) -> None:
    document = Document(report(teacher_summary(members=(80, 84, 88)), baseline_metrics=[]))
    assert_inert(document)
    assert "mlp_1200 on mnist gets 99.26 % right" in document.text
    assert "ensemble of 3 members" in document.text


def test_light_dark_and_print_have_their_styles(summary: Make) -> None:
    text = report(summary())
    for rule in ("prefers-color-scheme: dark", "@media print", 'name="color-scheme" content="light dark"'):
        assert rule in text


def test_hostile_names_are_inert(hostile: str, summary: Make, tmp_path: Path) -> None:
    picture = tmp_path / "a.svg"
    picture.write_text("<svg/>")
    text = report(
        summary(model=hostile, dataset=hostile, run=hostile, loss=hostile),
        {hostile: picture},
        {hostile: hostile, "nested": {hostile: [hostile]}},
        environment={hostile: {hostile: hostile}},
        reproduce=hostile,
        metrics=[{"epoch": 0, "temperature": hostile, "train/loss": 0.1}],
    )
    assert text.encode()
    clean_document = Document(report(summary(), {"a": picture}, {"a": "a", "nested": {"a": ["a"]}}))
    document = Document(text)
    assert_inert(document)
    assert sorted(set(document.tags)) == sorted(set(clean_document.tags))
    assert all(mark.isprintable() or mark == "\n" for mark in text)


def test_a_sentence_in_a_table_keeps_a_width_at_which_it_can_be_read() -> None:
    columns = [Column("name", text=True), Column("ours"), Column("why", text=True)]
    table = table_html(
        columns, [["alone", "146.0 ± 6.0 over five of the seeds", "the paper gives no number of epochs"]]
    )
    assert "<td>alone</td>" in table
    assert '<td class="number">146.0' in table
    assert '<td class="prose">the paper' in table
    assert ".prose { min-width:" in CSS


def test_sections_of_any_kind_can_be_added() -> None:
    document = Document(
        page("title", "lead", [Section("One", "<p>1</p>"), Section("<Two>", f"<p>{escape('<b>')}</p>")])
    )
    assert document.tags.count("section") == 2
    assert "<Two>" in document.text
    assert "<b>" in document.text


@pytest.mark.parametrize(
    ("value", "shown"), [("<a&'\">", "&lt;a&amp;&#x27;&quot;&gt;"), (None, "None"), ("\x1b", "\\x1b")]
)
def test_escape_makes_anything_text(value: object, shown: str) -> None:
    assert escape(value) == shown
