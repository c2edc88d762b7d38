"""Tab completion: what can follow, and the three shells that ask for it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcli.commands.completion import answer, candidates
from kdcli.commands.conf_files import options
from kdcli.commands.study import find_study, read_study

pytestmark = pytest.mark.xdist_group("completion")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two teachers, a student, a directory that is no run, and a sweep."""
    for name in ("train-teacher/20260102_120000-aaaa", "train-teacher/20260103_120000-bbbb"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "run.json").touch()
    for name in ("distill-student/20260104_120000-cccc", "sweeps/20260105_120000-dddd"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "run.json").touch()
    (tmp_path / "outputs" / "train-teacher" / "20260109_120000-none").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kd dis", ["distill-student"]),
        ("kd --json ev", ["evaluate"]),
        ("kd nonsense", []),
        ("kd completion ", ["bash", "zsh", "fish"]),
        ("kd help ex", ["export", "exit-codes"]),
        ("kd distill-student --cfg ", ["job", "hydra", "all"]),
        ("kd distill-student -c ", ["job", "hydra", "all"]),
        ("kd distill-student --progress=r", ["--progress=rich"]),
        ("kd distill-student --dr", ["--dry-run"]),
        ("kd data ", ["show"]),
        ("kd data show dataset.vi", ["dataset.views=", "dataset.view_pixels="]),
        ("kd resume --mul", []),
        ("kd distill-student model=resnet8", ["model=resnet8", "model=resnet8x4"]),
        ("kd distill-student temperature=co", ["temperature=constant", "temperature=cosine"]),
        ("kd distill-student -m temperature=1,2.5,cos", ["temperature=1,2.5,cosine"]),
        ("kd distill-student mod", ["model=", "model."]),
        ("kd distill-student epo", ["epochs="]),
        ("kd distill-student sw", ["sweep."]),
        ("kd distill-student sweep.", ["sweep.fuse=", "sweep.members_max="]),
        ("kd distill-student dataset.val_s", ["dataset.val_seed="]),
        ("kd distill-student temperature.", ["temperature.value="]),
        ("kd distill-student temperature=3.3 temperature.", ["temperature.value="]),
        ("kd distill-student temperature=linear temperature.", ["temperature.start=", "temperature.end="]),
        ("kd runs status=fin", ["status=finished"]),
        ("kd runs status=finished,b", ["status=finished,broken"]),
        ("kd runs comm", ["command="]),
        ("kd runs command=im", ["command=import"]),
        ("kd runs model=resnet11", ["model=resnet110"]),
        ("kd runs --al", ["--all"]),
        ("kd runs r", ["rm", "restore"]),
        ("kd compare --format ", ["table", "md", "csv", "json", "latex"]),
        ("kd compare --pi", ["--pivot"]),
        ("kd verify --pi", []),
        ("kd compare --pivot temp", ["temperature:"]),
        ("kd compare --pivot temperature:al", ["temperature:alpha"]),
        ("kd compare --pivot=model.hi", ["--pivot=model.hidden:"]),
        ("kd compare --pivot targ", []),
        ("kd distill-student select=", ["select=best", "select=last"]),
        ("kd distill-student -m select=best,", ["select=best,best", "select=best,last"]),
        ("kd distill-student baseline=t", ["baseline=true"]),
        ("kd distill-student targets.dtype=", ["targets.dtype=float32", "targets.dtype=float16"]),
        ("kd train-teacher members_data=b", ["members_data=bootstrap"]),
        ("kd train-teacher precision=", ["precision=float32", "precision=bf16"]),
        ("kd train-teacher device=", ["device=auto", "device=cpu", "device=mps", "device=cuda"]),
        ("kd train-teacher dataset.views=s", ["dataset.views=shift"]),
        ("kd train-teacher epochs=", []),
        ("kd import mean=", ["mean=measured"]),
        ("kd study quick", ["quickstart"]),
        ("kd study quickstart ", ["seeds=", "fraction=", "output_dir="]),
        ("kd study hinton2015/mnist seeds=1 te", ["teacher_epochs=", "temperature="]),
        ("kd --progress none ev", ["evaluate"]),
        ("kd doctor o", ["output_dir="]),
        ("kd re", ["report", "resume"]),
        ("kd train-teacher teach", []),
        ("kd evaluate temp", []),
        ("", []),
    ],
)
def test_what_can_follow(line: str, found: list[str]) -> None:
    assert candidates(line) == (found if line else candidates("kd "))


def test_own_options_are_found_where_the_line_names_their_directory(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "zebra.yaml").touch()
    for flag in (f"--config-dir {tmp_path}", f"--config-dir={tmp_path}", f"-cd {tmp_path}"):
        assert candidates(f"kd train-teacher {flag} model=z") == ["model=zebra"]


@pytest.mark.usefixtures("outputs")
def test_runs_follow_teacher_and_run_newest_first() -> None:
    teachers = ["20260103_120000-bbbb", "20260102_120000-aaaa"]
    trainings = ["20260104_120000-cccc", *teachers]
    assert candidates("kd distill-student teacher=") == [f"teacher={name}" for name in ["latest", *teachers]]
    assert candidates("kd evaluate run=") == [f"run={name}" for name in ["latest", *trainings]]
    assert candidates("kd evaluate run=[latest,20260104") == ["run=[latest,20260104_120000-cccc"]
    assert candidates("kd evaluate ")[:4] == ["latest", *trainings]
    assert candidates("kd evaluate 20260104") == ["20260104_120000-cccc"]
    assert candidates("kd evaluate latest 2026") == candidates("kd evaluate run=latest 2026") == []
    assert candidates("kd import 2026") == candidates("kd compare --last ") == candidates("kd compare --pivot 2") == []
    assert candidates("kd resume ") == ["latest", "20260105_120000-dddd", *trainings]
    for command in ("compare", "report", "verify", "runs rm"):
        assert candidates(f"kd {command} 20260105") == ["20260105_120000-dddd"]


def test_jobs_follow_their_sweep_and_a_slash_and_runs_are_those_of_the_output_dir(outputs: Path) -> None:
    sweep = outputs / "outputs" / "sweeps" / "20260105_120000-dddd"
    for name in ("00", "01", "baselines"):
        (sweep / name).mkdir()
        (sweep / name / "run.json").touch()
    jobs = ["20260105_120000-dddd/00", "20260105_120000-dddd/01"]
    assert candidates("kd compare 20260105_120000-dddd/") == jobs
    assert candidates("kd evaluate run=20260105_120000-dddd/01") == [f"run={jobs[1]}"]
    (outputs / "outputs").rename(outputs / "elsewhere")
    assert candidates("kd report 2026") == []
    for command in ("report", "resume", "export", "evaluate"):
        assert candidates(f"kd {command} output_dir=elsewhere 20260104") == ["20260104_120000-cccc"]


def test_a_study_is_completed_by_its_name_and_directory_and_the_trash_by_what_is_in_it(outputs: Path) -> None:
    for name in (
        "studies/quickstart/full-abcd",
        "studies/hinton2015/mnist/full-1234",
        ".trash/train-teacher/20250101_120000-gone",
    ):
        (outputs / "outputs" / name).mkdir(parents=True)
        (outputs / "outputs" / name / "run.json").touch()
    inside = outputs / "outputs" / "studies" / "quickstart" / "full-abcd" / "teacher"
    inside.mkdir()
    (inside / "run.json").touch()
    for command in ("report", "verify", "resume"):
        assert candidates(f"kd {command} quick") == ["quickstart/full-abcd"]
        assert candidates(f"kd {command} hint") == ["hinton2015/mnist/full-1234"]
        assert candidates(f"kd {command} hinton2015/mnist/") == ["hinton2015/mnist/full-1234"]
    assert candidates("kd runs restore ") == ["20250101_120000-gone"]


@pytest.mark.parametrize("name", options("study"))
def test_the_parameters_of_a_study_are_all_offered(name: str) -> None:
    parameters = read_study(find_study(name)).parameters
    assert candidates(f"kd study {name} ") == [*(f"{key}=" for key in parameters), "output_dir="]


def test_a_study_of_ones_own_is_read_and_one_that_is_no_text_is_left_alone(outputs: Path) -> None:
    (outputs / "mine.yaml").write_text("title: a\nparameters:\n  width: 3 # of the student\nruns: {}\n")
    assert candidates("kd study mine.yaml w") == ["width="]
    (outputs / "other.yaml").write_bytes(b"\xff")
    assert answer(["kd study other.yaml w"]) == 1


def test_the_answer_needs_only_the_standard_library(kd: Callable[..., Any], kd_lines: Callable[..., list[Any]]) -> None:
    lines = ["kd distill-student model=mlp_30", "kd runs status=", "kd compare ", "kd report x/"]
    lines += ["kd train-teacher dataset.views=", "kd compare --pivot ", "kd study quickstart "]
    outcomes = kd_lines([["__complete", line] for line in lines])
    assert {(outcome.code, outcome.imported) for outcome in outcomes} == {(0, ())}
    assert outcomes[0].out.splitlines() == ["model=mlp_30", "model=mlp_300"]
    assert kd("__complete").code == 0


@pytest.fixture(scope="module")
def with_kd_on_the_path(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``kd`` is this Python's kd."""
    directory = tmp_path_factory.mktemp("bin")
    program = directory / "kd"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdcli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(directory)}


_ASK_BASH = """
eval "$(kd completion bash)"
COMP_LINE=$1; COMP_POINT=${#1}
_kd_complete kd
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("kd dis", ["distill-student"]),
        ("kd distill-student model=resnet11", ["resnet110"]),
        ("kd distill-student -m temperature=1,cos", ["1,cosine"]),
        ("kd distill-student --progress=pl", ["plain"]),
        ("kd compare --pivot temperature:al", ["alpha"]),
    ],
)
def test_bash_completes_what_stands_behind_the_equals_sign(
    with_kd_on_the_path: dict[str, str], line: str, replies: list[str]
) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK_BASH, "bash", line], env=with_kd_on_the_path, capture_output=True, text=True
    )
    assert (done.stdout.splitlines(), done.stderr) == (replies, "")


# Makes its standard input the terminal that governs it, then becomes the shell.
_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class _Shell:
    """An interactive shell in a terminal of its own."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.terminal, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *command],
            env=env,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str, seconds: float = 20) -> str:
        """What the shell has printed when ``text`` is in it, or when the time is up."""
        printed, end = b"", time.monotonic() + seconds
        while text.encode() not in printed and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                printed += os.read(self.terminal, 65536)
        return printed.decode(errors="replace")

    def close(self) -> None:
        os.close(self.terminal)
        self.process.kill()
        self.process.wait()


_SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(kd completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(kd completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "kd completion fish | source"),
}


@pytest.fixture(params=_SHELLS)
def shell(request: pytest.FixtureRequest, with_kd_on_the_path: dict[str, str]) -> Iterator[_Shell]:
    command, setup = _SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    shell = _Shell(command, with_kd_on_the_path)
    shell.type(f"{setup}; echo rea''dy\n")
    assert "ready" in shell.wait_for("ready")
    yield shell
    shell.close()


def test_tab_completes_a_filter_and_a_run_in_a_terminal(shell: _Shell, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "train-teacher" / "20260102T030405Z-abcd"
    run.mkdir(parents=True)
    (run / "run.json").touch()
    shell.type(f"cd {tmp_path}; echo the''re\n")
    assert "there" in shell.wait_for("there")
    shell.type("kd runs status=interr\t")
    assert "status=interrupted" in shell.wait_for("status=interrupted")
    shell.type("\x15kd compare 20260\t")  # ^U: what was typed is gone
    assert run.name in shell.wait_for(run.name)


def test_tab_completes_an_option_in_a_terminal(shell: _Shell) -> None:
    shell.type("kd distill-student model=resnet11\t")
    assert "model=resnet110" in shell.wait_for("model=resnet110")


def test_tab_leaves_room_for_the_second_key_of_a_pivot(shell: _Shell) -> None:
    shell.type("kd compare --pivot temp\t")
    assert "temperature:" in shell.wait_for("temperature:")
    shell.type("al\t\x01echo the''re \x05\n")  # ^A and ^E: the ends of the line
    wanted = "there kd compare --pivot temperature:alpha"
    assert wanted in shell.wait_for(wanted)
