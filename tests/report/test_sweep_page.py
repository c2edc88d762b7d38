from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from kdcli.report.plots import Drawing
from kdcli.report.sweep import Numbers, Reference, SweepRow
from kdcli.report.sweep_figures import Picture
from kdcli.report.sweep_page import SweepFacts, sweep_page

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Document(HTMLParser):
    """The tags with their attributes, and the text, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [value for tag, name, value in self.attributes if (tag, name) == ("a", "href")]


def rows(name: str = "temperature", value: str = "cosine", reason: str = "it broke") -> list[SweepRow]:
    def job(number: int, val: float, errors: int, **settings: str) -> SweepRow:
        own = Numbers(val, 0.1, 6000, errors, 1 - errors / 1e4, 10_000, 0.98)
        without = Reference("baselines/00", Numbers(0.95, 0.2, 6000, 146, 0.9854, 10_000))
        teacher = Reference("t", Numbers(None, None, None, 70, 0.993, 10_000))
        return SweepRow(f"j{number}", settings, "finished", own, "mnist", without, teacher, 1e-6, f"{number:02}")

    return [
        job(0, 0.97, 120, **{name: "1", "seed": "0"}),
        job(1, 0.96, 130, **{name: "1", "seed": "1"}),
        job(2, 0.98, 98, **{name: value, "seed": "0"}),
        SweepRow(f"{name}={value} seed=1", {name: value, "seed": "1"}, "failed", run="03", reason=reason),
    ]


def facts(text: str = "value", best: str | None = "kd distill-student teacher=latest") -> SweepFacts:
    return SweepFacts(
        command="distill-student",
        path=f"outputs/sweeps/{text}",
        smoke=False,
        shared={"model": {"hidden": [30, 30]}, text: {text: text}},
        environment={"python": "3.11", text: text},
        repeat=f"kd distill-student -m {text}",
        best=best,
    )


def pictures(folder: Path, caption: str = "top-1") -> list[Picture]:
    (folder / "heatmap.svg").write_text("<svg/>")
    return [Picture(caption, Drawing(folder / "heatmap.png", folder / "heatmap.svg", folder / "heatmap.csv"))]


def test_the_page_leads_with_the_best_and_goes_from_figure_to_command(tmp_path: Path) -> None:
    text = Document(sweep_page(rows(), facts(), pictures(tmp_path))).text
    parts = [
        "temperature=cosine is the best of 2 settings on validation, and on test it gains 0.48 points",
        "By temperature",
        "Ranked by validation",
        "1 of 4 jobs did not finish",
        "Configuration of all jobs",
        "Environment",
        "Run it again",
        "kd distill-student teacher=latest",
        "kd distill-student -m value",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_it_is_one_file_that_asks_nobody_for_anything(tmp_path: Path) -> None:
    text = sweep_page(rows(), facts(), pictures(tmp_path))
    document = Document(text)
    assert ("meta", "content", POLICY) in document.attributes
    assert not set(document.tags) & {"script", "iframe", "object", "embed", "link", "base", "form", "svg"}
    assert not {name for _, name, _ in document.attributes} & {"style", "srcset", "action", "onclick"}
    sources = [value for tag, name, value in document.attributes if name == "src"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/svg+xml;base64,")
    assert not {mark for mark in ("http://", "https://", "url(", "@import") if mark in text}


def test_each_group_links_to_the_directories_of_its_jobs_as_seen_from_the_sweep() -> None:
    document = Document(sweep_page(rows(), facts(), []))
    assert document.links() == ["02/", "00/", "01/", "03/"]


def test_what_failed_is_there_with_its_reason() -> None:
    text = " ".join(Document(sweep_page(rows(), facts(), [])).text.split())
    assert "temperature=cosine seed=1 failed it broke" in " ".join(text.replace("failed", " failed ").split())


def test_baseline_and_teacher_stand_in_the_table() -> None:
    text = Document(sweep_page(rows(), facts(), [])).text
    assert "baseline" in text
    assert "teacher" in text
    assert "\nrank" in text


def test_without_validation_it_says_that_nothing_is_ranked() -> None:
    blind = [SweepRow("j", {"t": t}, "finished", Numbers(test_errors=9, test_top1=0.9, test_n=100)) for t in "12"]
    text = Document(sweep_page(blind, facts(best=None), [])).text
    assert "In the order of the grid" in text
    assert "Ranked" not in text
    assert "The best job" not in text
    assert "The whole sweep:" in text


def test_a_sweep_without_any_result_has_a_page_too() -> None:
    document = Document(sweep_page([rows()[3]] * 2, facts(best=None), []))
    assert "None of the 2 jobs finished." in document.text
    assert document.links() == ["03/", "03/"]


def test_hostile_texts_are_inert(hostile: str, tmp_path: Path) -> None:
    def shown(word: str) -> tuple[str, Document]:
        text = sweep_page(rows(word, word, word), facts(word, word), pictures(tmp_path, word))
        return text, Document(text)

    text, document = shown(hostile)
    _, harmless = shown("p" * len(hostile))
    assert text.encode()
    assert all(mark.isprintable() or mark == "\n" for mark in text)
    assert document.tags == harmless.tags
    kinds: Any = [(tag, name) for tag, name, _ in document.attributes]
    assert kinds == [(tag, name) for tag, name, _ in harmless.attributes]
    assert document.links() == harmless.links()
