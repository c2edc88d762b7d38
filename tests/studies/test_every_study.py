"""Every study that comes with kd runs from end to end in smoke, and writes all that it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.commands.study import find_study, read_study, study_names

# Those that take more than a few seconds.
DEAR = {
    *("bucila2006/size", "bucila2006/table", "bucila2006/units"),
    *("cho2019/early_teacher", "furlanello2018/born_again", "mirzadeh2020/assistant", "muller2019/label_smoothing"),
    *("hinton2015/few_labels", "hinton2015/temperature", "zhang2018/mutual"),
}
CASES = [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in study_names()]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them work, so that the teacher that they share is trained once."""
    return tmp_path_factory.mktemp("studies")


@pytest.mark.parametrize("name", CASES)
def test_a_study_runs_in_smoke(name: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", name, "--smoke", "--quiet", f"output_dir={shared}"]) == 0, capsys.readouterr().err
    file = read_study(find_study(name))
    (place,) = (shared / "studies" / name).iterdir()
    results = json.loads((place / "results.json").read_text())
    assert results["smoke"]
    assert [row["name"] for row in results["rows"]] == [row["name"] for row in file.rows]
    assert results["runs"].keys() == file.runs.keys()
    assert len(results["figures"]) == len(file.figures)
    for figure in results["figures"]:
        assert {(place / figure).with_suffix(suffix).is_file() for suffix in (".png", ".svg", ".csv")} == {True}
    assert (place / "table.md").read_text().count("\n| ") == 2 + len(file.rows)
    assert "This was a smoke run" in (place / "report.html").read_text()


@pytest.mark.parametrize("budget", ["short", "full"])
@pytest.mark.parametrize("name", study_names())
def test_a_study_can_be_planned_at_every_budget(name: str, budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", name, f"--budget={budget}", "--dry-run"]) == 0
    assert "nothing was written" in capsys.readouterr().out
