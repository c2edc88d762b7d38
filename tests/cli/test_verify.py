"""``kd verify`` on real runs, whole and damaged in every way that a run directory can be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir


@pytest.fixture
def teacher(tiny_teacher: RunDir, tmp_path: Path) -> Path:
    """A copy of a finished training that may be damaged."""
    shutil.copytree(tiny_teacher.path, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def student(tiny_student: RunDir, tmp_path: Path) -> Path:
    """A copy of a finished distillation with its baseline."""
    shutil.copytree(tiny_student.path, tmp_path / "run")
    return tmp_path / "run"


def _edited(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _step(run: Path) -> Path:
    return next(iter(sorted((run / "checkpoints").glob("step-*"))))


def test_a_whole_run_says_which_it_is_and_how_much_was_looked_at(
    tmp_path: Path, tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "outputs" / "train-teacher" / tiny_teacher.path.name
    shutil.copytree(tiny_teacher.path, run)
    files = sum(path.is_file() for path in (run / "checkpoints").rglob("*"))
    assert len(list((run / "checkpoints").glob("step-*"))) == 1
    assert main(["verify", "latest", f"output_dir={tmp_path}/outputs", "--smoke"]) == 0
    # run.json, config, overrides, environment, summary, findings, metrics
    assert capsys.readouterr().out == f"whole: {files + 7} files, 1 checkpoint in {run}\n"


def test_the_baseline_inside_is_checked_too(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(student)]) == 0
    _flip(_step(student / "baseline") / "model.safetensors")
    capsys.readouterr()
    assert main(["verify", str(student)]) == 4
    assert "baseline/checkpoints" in capsys.readouterr().out


def test_a_baseline_that_was_taken_away_is_missed(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = json.loads((student / "summary.json").read_text())["baseline"]["run"]
    student = student.rename(student.with_name(Path(name).parent.name))
    assert main(["verify", str(student)]) == 0
    shutil.rmtree(student / "baseline")
    capsys.readouterr()
    assert main(["verify", str(student)]) == 4
    assert f"{student}/baseline: is missing" in capsys.readouterr().out


def test_a_baseline_beside_a_job_is_not_looked_for_inside_it(student: Path) -> None:
    job = student.rename(student.with_name("01"))
    shutil.rmtree(job / "baseline")
    name = "outputs/sweeps/20261122T215202Z-1901/baselines/01"  # "01/" stands in it, and is not the job
    content = json.loads((job / "summary.json").read_text())
    content["baseline"]["run"] = name
    (job / "summary.json").write_text(json.dumps(content))
    assert main(["verify", str(job)]) == 0


DAMAGE: dict[str, Callable[[Path], object]] = {
    "run.json is missing": lambda run: (run / "run.json").unlink(),
    "run.json is torn": lambda run: (run / "run.json").write_text((run / "run.json").read_text()[:-20]),
    "run.json names no command": lambda run: _edited(run / "run.json", lambda r: r.update(command="../sh")),
    "config.yaml is missing": lambda run: (run / "config.yaml").unlink(),
    "config.yaml has an unknown key": lambda run: _append(run / "config.yaml", "_target_: os.system\n"),
    "config.yaml has an interpolation": lambda run: _append(run / "config.yaml", "label: ${oc.env:HOME}\n"),
    "overrides.yaml is no list": lambda run: (run / "overrides.yaml").write_text("a: 1\n"),
    "environment.json is no object": lambda run: (run / "environment.json").write_text("[]"),
    "metrics.jsonl is missing": lambda run: (run / "metrics.jsonl").unlink(),
    "metrics.jsonl is torn": lambda run: _append(run / "metrics.jsonl", '{"epoch": 1'),
    "metrics.jsonl has a line twice": lambda run: _append(run / "metrics.jsonl", (run / "metrics.jsonl").read_text()),
    "metrics.jsonl has another key": lambda run: _append(run / "metrics.jsonl", '{"epoch": 1}\n'),
    "summary.json is missing": lambda run: (run / "summary.json").unlink(),
    "summary.json has another schema": lambda run: _edited(run / "summary.json", lambda s: s.update(schema=2)),
    "summary.json lacks a number": lambda run: _edited(run / "summary.json", lambda s: s.pop("parameters")),
    "summary.json is of more epochs": lambda run: _edited(run / "summary.json", lambda s: s.update(epochs=99)),
    "summary.json names another checkpoint": lambda run: _edited(
        run / "summary.json", lambda s: s.update(selected={"checkpoint": "step-999999", "epoch": 0, "by": "last"})
    ),
    "checkpoints are missing": lambda run: shutil.rmtree(run / "checkpoints"),
    "last.json is missing": lambda run: (run / "checkpoints" / "last.json").unlink(),
    "best.json is missing": lambda run: (run / "checkpoints" / "best.json").unlink(),
    "last.json is empty": lambda run: (run / "checkpoints" / "last.json").write_text(""),
    "a tensor file has a flipped bit": lambda run: _flip(_step(run) / "model.safetensors"),
    "a state has a flipped bit": lambda run: _flip(_step(run) / "state.json"),
    "a file too many in a checkpoint": lambda run: (_step(run) / "model.pt").write_bytes(b""),
    "a symbolic link": lambda run: (run / "out").symlink_to("/"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_rejected(teacher: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGE[damage](teacher)
    assert main(["verify", str(teacher)]) == 4
    said = capsys.readouterr()
    assert len(said.out.splitlines()) in (1, 2)
    assert all(line.startswith(str(teacher)) for line in said.out.splitlines())
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


def test_what_a_killed_process_leaves_is_a_note_and_no_damage(
    teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _edited(teacher / "run.json", lambda run: run.update(status="running", pid=2**22 + 1, ended=None))
    _append(teacher / "metrics.jsonl", '{"epoch": 1')
    (teacher / "checkpoints" / ".tmp-4194305-0123abcd").mkdir()
    (teacher / "summary.json").unlink()
    assert main(["verify", str(teacher)]) == 0
    *notes, last = capsys.readouterr().out.splitlines()
    assert [note.startswith("note: ") for note in notes] == [True] * 3
    assert last.startswith("whole: ")


def test_json_lists_the_findings(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (teacher / "summary.json").unlink()
    assert main(["verify", str(teacher), "--json"]) == 4
    content = json.loads(capsys.readouterr().out)
    assert (content["whole"], content["checkpoints"]) == (False, len(list((teacher / "checkpoints").glob("step-*"))))
    assert content["findings"] == [
        {"where": str(teacher / "summary.json"), "what": "is missing", "harmless": False},
    ]


def test_names_in_a_hostile_run_reach_the_terminal_without_control_characters(
    teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (teacher / "a\x1b[31m\nb").symlink_to("/")
    _edited(teacher / "run.json", lambda run: run.update(command="\x1b[31m"))
    assert main(["verify", str(teacher)]) == 4
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["verify"], ["verify", "a", "b"], ["verify", "nowhere"]])
def test_without_one_run_that_is_there_it_is_refused(words: list[str], tmp_path: Path) -> None:
    assert main([*words, f"output_dir={tmp_path}"]) == 2


def test_torch_is_not_needed(teacher: Path) -> None:
    code = "import sys; from kdcli.__main__ import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "verify", str(teacher)], capture_output=True, timeout=60)
    assert done.returncode == 0


def test_nothing_is_changed(teacher: Path) -> None:
    before = {path: path.read_bytes() for path in teacher.rglob("*") if path.is_file()}
    times = {path: os.lstat(path).st_mtime_ns for path in teacher.rglob("*")}
    main(["verify", str(teacher)])
    assert {path: path.read_bytes() for path in teacher.rglob("*") if path.is_file()} == before
    assert {path: os.lstat(path).st_mtime_ns for path in teacher.rglob("*")} == times


def test_a_directory_that_is_no_run_is_not_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to("/")
    assert main(["verify", str(tmp_path / "mine")]) == 2
    assert "is no run directory: it has no run.json" in capsys.readouterr().err
