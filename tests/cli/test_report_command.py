"""``kd report`` writes the page of whatever has ended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kdcli.__main__ import main

pytestmark = pytest.mark.xdist_group("runs")

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(run_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree without any report, which is the working directory."""
    shutil.copytree(run_tree / "outputs", tmp_path / "outputs", ignore=shutil.ignore_patterns("report.html", "figures"))
    monkeypatch.chdir(tmp_path)
    return Path("outputs")


def test_of_a_run_a_baseline_a_job_and_a_sweep(tree: Path, capsys: Capture) -> None:
    (student,) = (tree / "distill-student").iterdir()
    (sweep,) = (tree / "sweeps").iterdir()
    places = [student, student / "baseline", sweep / "03", sweep]
    assert main(["report", str(student), "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{student} is finished; nothing was written\n"
    assert not list(tree.rglob("report.html"))
    assert main(["report", *map(str, places)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{place}/report.html" for place in places]
    for place in places:
        page = (place / "report.html").read_text()
        assert page.startswith("<!DOCTYPE html>")
        assert list((place / "figures").glob("*.png"))
    assert main(["report", f"{sweep.name}/03", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["reports"] == [{"run": f"{sweep}/03", "report": f"{sweep}/03/report.html"}]


def test_what_has_no_result_is_refused_with_what_to_do(tree: Path, capsys: Capture) -> None:
    diverged = next(path for path in (tree / "train-teacher").iterdir() if not (path / "summary.json").exists())
    assert main(["report", str(diverged)]) == 2
    assert "train again with a lower optimizer.lr" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert main(["report", "nothing"]) == 2
    assert "kd runs" in capsys.readouterr().err
