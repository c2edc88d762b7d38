from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcli.errors import CheckpointError, UsageError
from kdcli.rundir import Contents, RunDir, create_at, create_child, create_run, list_runs, name_of, resolve_run
from kdcli.rundir.find import Purpose

Make = Callable[..., RunDir]


def _found(text: str, root: Path, purpose: Purpose = "run", *, smoke: bool = False) -> Path:
    return resolve_run(text, root=root, purpose=purpose, smoke=smoke).path


def _reason(text: str, root: Path, purpose: Purpose = "run", *, smoke: bool = False) -> UsageError:
    with pytest.raises(UsageError) as caught:
        resolve_run(text, root=root, purpose=purpose, smoke=smoke)
    return caught.value


def test_the_latest_teacher_is_the_newest_finished_train_teacher(root: Path, make: Make) -> None:
    make()
    newest = make()
    make(status="running")
    make(status="failed")
    make("distill-student")
    make("evaluate")
    assert _found("latest", root, "teacher") == newest.path


def test_the_latest_run_is_the_newest_finished_training(root: Path, make: Make) -> None:
    make()
    student = make("distill-student")
    make("evaluate")
    make(status="interrupted")
    assert _found("latest", root, "run") == student.path


@pytest.mark.parametrize("status", ["created", "failed", "interrupted"])
def test_the_latest_to_resume_is_the_newest_that_can_go_on(root: Path, make: Make, status: str) -> None:
    make(status="failed")
    wanted = make(status=status)
    if status == "created":
        _alter(wanted, pid=0)
    make()
    make(status="running")
    make("evaluate", "failed")
    make(status="diverged")
    assert _found("latest", root, "resume") == wanted.path


@pytest.mark.parametrize(("last", "leads_on"), [("diverged", False), ("finished", False), ("failed", True)])
def test_a_sweep_whose_jobs_have_all_come_to_their_end_is_not_resumed(
    root: Path, make: Make, last: str, leads_on: bool
) -> None:
    wanted = make(status="interrupted")
    sweep = make("sweeps", "failed")
    for number, status in enumerate(("finished", last)):
        make(status=status).path.rename(sweep.path / f"0{number}")
    assert _found("latest", root, "resume") == (sweep if leads_on else wanted).path


def test_a_run_that_is_only_starting_is_not_resumed(root: Path, make: Make) -> None:
    make(status="created")
    assert "no run that can go on" in _reason("latest", root, "resume").what


def test_a_running_run_whose_process_is_gone_can_go_on(root: Path, make: Make) -> None:
    run = make(status="running")
    _alter(run, pid=0)
    assert _found("latest", root, "resume") == run.path


def _alter(run: RunDir, **changes: object) -> None:
    path = run.path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_newest_goes_by_the_time_in_the_record_then_by_name(root: Path, make: Make) -> None:
    first, second, third = make(), make(), make()
    for run, started in ((first, "3"), (second, "1"), (third, "3")):
        _alter(run, started=f"2026-01-0{started}T00:00:00.000000Z")
    assert _found("latest", root) == max(first.path, third.path)


def test_members_and_baselines_are_never_the_latest(root: Path, make: Make, contents: Contents) -> None:
    run = make("distill-student")
    for name in ("baseline", "members/00"):
        create_child(run, name, command="train-teacher", **contents).set_status("finished")
    assert _found("latest", root, "run") == run.path
    assert "no finished train-teacher" in _reason("latest", root, "teacher").what
    assert _found(str(run.path / "members/00"), root, "teacher") == run.path / "members/00"


@pytest.fixture
def sweep(root: Path, contents: Contents) -> RunDir:
    """A sweep with a finished job, an interrupted one and a baseline."""
    run = create_run(root, "sweeps", **contents)
    create_child(run, "00", command="train-teacher", **contents).set_status("finished")
    create_child(run, "01", command="train-teacher", **contents).set_status("interrupted")
    create_child(run, "baselines/00", command="train-teacher", **contents).set_status("finished")
    run.set_status("failed")
    return run


def test_a_job_of_a_sweep_counts_for_training_and_the_sweep_itself_for_resuming(root: Path, sweep: RunDir) -> None:
    assert _found("latest", root, "run") == sweep.path / "00"
    assert _found("latest", root, "teacher") == sweep.path / "00"
    assert _found("latest", root, "resume") == sweep.path


def test_jobs_are_named_behind_their_sweep(root: Path, sweep: RunDir) -> None:
    name = sweep.path.name
    assert _found(name, root) == sweep.path
    assert _found(name[:-1], root) == sweep.path
    assert _found(f"{name}/01", root) == sweep.path / "01"
    assert [name_of(run.path, root) for run in list_runs(root)[0]] == [f"{name}/01", f"{name}/00", name]


def test_a_study_whose_name_has_parts_is_found(root: Path, contents: Contents) -> None:
    path = root / "studies" / "hinton2015" / "mnist" / "full-0a1b"
    study = create_at(path, id="hinton2015/mnist", command="studies", **contents)
    study.set_status("interrupted")
    create_child(study, "teacher/00", command="train-teacher", **contents).set_status("interrupted")
    for text in ("latest", "hinton2015/mnist/full-0a1b"):
        assert resolve_run(text, root=root, purpose="resume", smoke=False).path == path


def test_studies_are_found_by_name_and_resumed(root: Path, contents: Contents) -> None:
    path = root / "studies" / "hinton" / "quick-0a1b"
    study = create_at(path, id="hinton/quick-0a1b", command="studies", **contents)
    study.set_status("interrupted")
    create_child(study, "runs/00", command="train-teacher", **contents).set_status("finished")
    assert _found("latest", root, "resume") == path
    assert _found("hinton", root) == path
    assert "no finished" in _reason("latest", root).what


def test_a_run_is_found_by_path_name_start_of_the_name_and_label(
    root: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(label="other")
    run = make(label="my teacher")
    _rename(run, "20300101T000000Z-abcd")
    path = root / "train-teacher" / "20300101T000000Z-abcd"
    monkeypatch.chdir(tmp_path)
    for text in (str(path), f"{path}/", "outputs/train-teacher/" + path.name, path.name, "2030", "my teacher"):
        assert _found(text, root).resolve() == path
    monkeypatch.chdir(path.parent)
    assert _found(path.name, root).resolve() == path


def _rename(run: RunDir, name: str) -> None:
    run.path.rename(run.path.with_name(name))


def test_a_start_or_label_of_several_runs_lists_them(root: Path, make: Make) -> None:
    runs = [make(label="same") for _ in range(7)]
    for text in ("20", "same"):
        problem = _reason(text, root)
        assert f"{text!r} means 7 runs" in problem.what
        assert problem.fix is not None
        assert runs[-1].path.name in problem.fix
        assert "..." in problem.fix


def test_smoke_runs_count_only_for_smoke(root: Path, make: Make) -> None:
    real = make()
    smoke = make(smoke=True, label="try")
    assert _found("latest", root, "teacher") == real.path
    assert _found("latest", root, "teacher", smoke=True) == smoke.path
    assert "smoke run" in _reason("try", root).what
    assert _found("try", root, smoke=True) == smoke.path
    assert _found(str(smoke.path), root) == smoke.path


def test_where_there_are_only_smoke_runs_this_is_said(root: Path, make: Make) -> None:
    make(smoke=True)
    problem = _reason("latest", root, "teacher")
    assert "but for smoke runs (1)" in problem.what
    assert problem.fix == "add --smoke"


@pytest.mark.parametrize(
    ("purpose", "smoke", "command"),
    [
        ("teacher", False, "kd train-teacher"),
        ("teacher", True, "kd train-teacher --smoke"),
        ("run", False, "kd train-teacher"),
    ],
)
def test_where_there_is_none_it_says_what_to_run_first(root: Path, purpose: Purpose, smoke: bool, command: str) -> None:
    for text in ("latest", "nowhere", "./nowhere", "", "a\0b", "x" * 5000, "../" * 50):
        problem = _reason(text, root, purpose, smoke=smoke)
        assert problem.exit_code == 2
        assert problem.fix is not None
        known = purpose == "teacher" or ".." not in text  # a directory may lie beside others with runs
        assert problem.fix.endswith(command if known else "kd runs")


def test_near_names_and_labels_are_offered(root: Path, make: Make) -> None:
    make(label="teacher-1200")
    problem = _reason("teacher-120O", root)
    assert problem.fix is not None
    assert "did you mean teacher-1200?" in problem.fix


def test_a_directory_beside_the_user_does_not_hide_a_run_of_its_name(
    root: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(label="teacher")
    (tmp_path / "teacher").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _found("teacher", root) == run.path


def test_a_directory_that_is_no_run_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no run.json" in _reason(f"{tmp_path}/empty", root).what


def test_an_evaluation_or_sweep_cannot_be_a_teacher_nor_an_evaluation_be_resumed(
    root: Path, make: Make, sweep: RunDir
) -> None:
    evaluation = make("evaluate", "failed")
    for run, purpose in ((evaluation, "teacher"), (sweep, "teacher"), (evaluation, "resume")):
        assert "cannot be used here" in _reason(run.path.name, root, purpose).what  # type: ignore[arg-type]
    assert _found(evaluation.path.name, root, "run") == evaluation.path


def test_a_student_can_be_a_teacher_where_it_is_named(root: Path, make: Make) -> None:
    student = make("distill-student")
    assert _found(student.path.name, root, "teacher") == student.path


def test_a_damaged_record_is_passed_over_by_latest_listed_and_refused_by_name(root: Path, make: Make) -> None:
    whole = make()
    broken = make()
    (broken.path / "run.json").write_text("{")
    assert _found("latest", root) == whole.path
    runs, damaged = list_runs(root)
    assert ([run.path for run in runs], list(damaged)) == ([whole.path], [broken.path])
    make(status="failed")
    (make().path / "run.json").write_text("")
    for text in (str(broken.path), broken.path.name):
        with pytest.raises(CheckpointError):
            resolve_run(text, root=root, purpose="run", smoke=False)


def test_other_things_in_the_output_directory_are_ignored(root: Path, make: Make) -> None:
    run = make()
    (root / "notes.txt").write_text("mine")
    (root / ".cache").mkdir()
    (run.path.parent / "empty").mkdir()
    (run.path.parent / ".tmp-1-00000000").mkdir()
    (run.path.parent / ".tmp-1-00000000" / "run.json").write_text((run.path / "run.json").read_text())
    assert [found.path for found in list_runs(root)[0]] == [run.path]


def test_two_thousand_runs_are_listed_in_half_a_second(root: Path, make: Make) -> None:
    record = (make().path / "run.json").read_bytes()
    for number in range(2000):
        path = root / "train-teacher" / f"20260101T000000Z-{number:04x}"
        path.mkdir()
        (path / "run.json").write_bytes(record)
    started = time.process_time()
    assert len(list_runs(root)[0]) == 2001
    assert time.process_time() - started < 0.5
