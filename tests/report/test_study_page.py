from __future__ import annotations

from pathlib import Path

from kdcli.report.figures import Series, lines
from kdcli.report.study import StudyRow
from kdcli.report.study_page import StudyFacts, study_lead, study_page

ROWS = [
    StudyRow("teacher", [70, 74, 78], 67, "as expected", why="three seeds"),
    StudyRow("student", [98], 74, "not reached"),
    StudyRow("seconds", [5.25]),
]


def page_of(tmp_path: Path, *, name: str = "A study", smoke: bool = False) -> str:
    facts = StudyFacts(name, "Somebody 2015", "It holds.", "outputs/x", smoke, ["teacher: outputs/y was there already"])
    series = [Series("a", [1, 10], [5, 50])]
    drawing = lines(series, tmp_path / "f", x_label="x", y_label="y", title="t", log_x=True, log_y=True)
    settings = {"runs": {"teacher": {"command": "train-teacher", "overrides": ["epochs=3"]}}}
    return study_page(ROWS, facts, {name: drawing.svg}, settings, {"cpus": 2}, "kd study mine.yaml")


def test_the_lead_counts_what_came_out_as_expected() -> None:
    assert study_lead(ROWS) == "As expected: 1 of 2 numbers that the study judges."
    assert study_lead(ROWS[2:]) == "1 number, none of which is held against an expectation."


def test_a_report_holds_table_figure_runs_and_the_command(tmp_path: Path) -> None:
    shown = page_of(tmp_path)
    for text in ("74.0 ± 4.0 (3)", "three seeds", "outputs/y was there already", "epochs=3", "kd study mine.yaml"):
        assert text in shown
    assert shown.count("<figure>") == 1
    assert "smoke" not in shown
    assert "This was a smoke run" in page_of(tmp_path, smoke=True)


def test_hostile_names_stay_text(tmp_path: Path, hostile: str) -> None:
    shown = page_of(tmp_path, name=f"<script>alert(1)</script>{hostile}")
    assert "<script" not in shown
