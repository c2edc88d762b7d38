"""``kd runs rm`` and ``restore``: what goes into the trash, what comes back, and what stays where it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main

pytestmark = pytest.mark.xdist_group("runs")

Capture = pytest.CaptureFixture[str]
Listed = Callable[..., list[dict[str, Any]]]
Edit = Callable[..., None]


def test_rm_moves_a_run_into_the_trash_and_restore_brings_it_back(tree: Path, student: Path, listed: Listed) -> None:
    path = student
    before = sorted(each.relative_to(path) for each in path.rglob("*"))
    assert main(["runs", "rm", path.name]) == 0
    assert not path.exists()
    assert (tree / ".trash" / "distill-student" / path.name / "summary.json").exists()
    assert len(listed()) == 3
    assert main(["runs", "restore", path.name]) == 0
    assert set(before) <= {each.relative_to(path) for each in path.rglob("*")}
    assert len(listed()) == 4


def test_purge_deletes_and_dry_run_changes_nothing(tree: Path, student: Path) -> None:
    path = student
    assert main(["runs", "rm", str(path), "--purge", "--dry-run"]) == 0
    assert path.exists()
    assert main(["runs", "rm", str(path), "--purge"]) == 0
    assert list(tree.rglob(f"*{path.name}*")) == []


def test_a_teacher_that_others_name_stays_unless_forced_or_taken_with_them(
    tree: Path, capsys: Capture, student: Path, sweep: Path, listed: Listed
) -> None:
    teacher = next(run for run in listed("status=finished") if run["command"] == "train-teacher")["id"]
    assert main(["runs", "rm", teacher]) == 2
    assert "as teacher" in capsys.readouterr().err
    assert (tree / "train-teacher" / teacher).exists()
    names = [teacher, student.name, sweep.name]
    assert main(["runs", "rm", *names]) == 0
    assert main(["runs", "restore", *names]) == 0
    assert main(["runs", "rm", teacher, "--force"]) == 0


def test_jobs_baselines_and_what_lies_elsewhere_are_no_runs_of_their_own(
    tree: Path, tmp_path: Path, student: Path, sweep: Path
) -> None:
    (tmp_path / "mine").mkdir()
    places = [sweep / "00", student / "baseline", tree, tree / "train-teacher", tmp_path / "mine"]
    for place in places:
        assert main(["runs", "rm", str(place), "--purge", "--force"]) == 2
        assert place.exists()


def test_a_run_that_is_at_work_stays(student: Path, edit: Edit) -> None:
    edit(student / "run.json", status="running", pid=os.getpid(), ended=None)
    assert main(["runs", "rm", student.name]) == 2
    assert student.exists()


@pytest.mark.parametrize("name", ["quickstart", "papers/hinton"])
def test_a_study_is_listed_by_what_came_out_and_taken_away_whole(
    tree: Path, name: str, student: Path, listed: Listed, edit: Edit
) -> None:
    study = tree / "studies" / name / "full-1a2b3c4d"
    study.mkdir(parents=True)
    shutil.copyfile(student / "run.json", study / "run.json")
    edit(study / "run.json", command="studies", label=name)
    verdicts = ["as expected", "not reached", ""]
    (study / "results.json").write_text(json.dumps({"rows": [{"verdict": verdict} for verdict in verdicts]}))
    (run,) = listed("command=studies")
    assert (run["id"], run["status"], run["remark"]) == (f"{name}/full-1a2b3c4d", "finished", "1/2 as expected")
    assert main(["runs", "rm", str(study.parent), "--purge"]) == 2
    assert main(["runs", "rm", str(study)]) == 0
    assert listed("command=studies") == []
    assert main(["runs", "restore", f"{name}/full-1a2b3c4d"]) == 0
    assert study.exists()


def test_restore_never_writes_over_a_run(tree: Path, student: Path) -> None:
    path = student
    assert main(["runs", "rm", path.name]) == 0
    shutil.copytree(tree / ".trash" / "distill-student" / path.name, path)
    assert main(["runs", "restore", path.name]) == 6
    assert main(["runs", "restore", "nothing"]) == 2


def test_a_broken_run_is_taken_away_by_the_name_it_is_listed_by(student: Path, listed: Listed) -> None:
    (student / "run.json").write_text("{")
    names = [run["id"] for run in listed("status=broken")]
    assert names == [student.name]
    assert main(["runs", "rm", *names]) == 0
    assert listed("status=broken") == []
