"""``kd evaluate`` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir


def test_json_is_alone_on_stdout_and_is_the_file(
    tiny_student: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", f"run={tiny_student.path}", "latency=false", "device=cpu", f"output_dir={tmp_path}"]
    assert main([*words, "--json", "--smoke"]) == 0
    (written,) = tmp_path.glob("evaluate/*/evaluation.json")
    assert capsys.readouterr().out == written.read_text()
    kept = json.loads(written.read_text())
    assert [run["run"] for run in kept["runs"]] == [str(tiny_student.path)]


def test_the_last_lines_name_the_run_and_the_next_command(
    tiny_teacher: RunDir, tiny_student: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["latency=false", "device=cpu", f"output_dir={tmp_path}"]
    assert main(["evaluate", f"run={tiny_student.path}", *options, "--smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (written,) = tmp_path.glob("evaluate/*")
    assert lines[-3:-1] == [f"run   {written}", f"see   {written}/report.html"]
    family = f"{tiny_teacher.path},{tiny_student.path}/baseline,{tiny_student.path}"
    assert lines[-1].split() == ["next", "kd", "evaluate", f"'run=[{family}]'", "--smoke"]
    assert main(["evaluate", f"run=[{tiny_teacher.path},{tiny_student.path}]", *options]) == 0
    said = capsys.readouterr().out
    assert "test agreement %" in said
    assert said.splitlines()[-1].split() == ["next", "kd", "distill-student", f"teacher={tiny_teacher.path}"]


def test_a_run_that_is_named_twice_is_refused(tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"run=[{tiny_teacher.path},{tiny_teacher.path}/]"]) == 2
    assert f"run names {tiny_teacher.path} twice" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_measured_and_writes_nothing(
    tiny_student: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    assert main(["evaluate", str(tiny_student.path), "device=cpu", f"output_dir={outputs}", "--dry-run"]) == 0
    assert "mlp_20, 10,000 test and 54,000 training examples of mnist" in capsys.readouterr().out
    assert not outputs.exists()


def test_of_a_damaged_run_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("{}", '{"schema": 1}', ""):
        (tmp_path / "run.json").write_text(content)
        assert main(["evaluate", f"run={tmp_path}"]) == 4
        assert "   do: " in capsys.readouterr().err
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").mkdir()
    assert main(["evaluate", f"run={tmp_path}"]) == 4
    assert "   do: kd verify RUN says what is damaged" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from kdcli.__main__ import main; "
        f"code = main(['evaluate', 'run=nowhere', 'output_dir={tmp_path}']); "
        "sys.exit(99 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no run 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr
