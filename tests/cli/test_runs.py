"""``kd runs``: what is listed, in what order, how fast, and what becomes of damage."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.commands.run_entries import ORDERS
from kdcli.commands.run_filters import _KEYS
from kdcli.report.text import width_of

pytestmark = pytest.mark.xdist_group("runs")

Capture = pytest.CaptureFixture[str]
Listed = Callable[..., list[dict[str, Any]]]
Edit = Callable[..., None]


def test_runs_and_sweeps_are_listed_newest_first_without_smoke_runs_and_jobs(tree: Path, listed: Listed) -> None:
    runs = listed()
    assert [run["command"] for run in runs] == ["train-teacher", "sweeps", "distill-student", "train-teacher"]
    assert [run["status"] for run in runs] == ["diverged", "finished", "finished", "finished"]
    assert [run["started"] for run in runs] == sorted((run["started"] for run in runs), reverse=True)
    assert len(listed("--smoke")) == 5
    assert len(listed("--all")) == 9


def test_a_student_is_shown_as_its_summary_has_it(student: Path, listed: Listed) -> None:
    (run,) = listed("command=distill-student")
    summary = json.loads((student / "summary.json").read_text())
    assert (run["model"], run["teacher_model"], run["dataset"]) == ("mlp_30", "mlp_30", "mnist")
    assert (run["temperature"], run["alpha"]) == (4.0, 0.9)
    assert run["top1"] == summary["test"]["top1"]
    assert run["difference"] == summary["test"]["top1"] - summary["teacher"]["test"]["top1"]


def test_a_sweep_shows_the_mean_over_seeds_of_what_is_best_on_validation(sweep: Path, listed: Listed) -> None:
    (run,) = listed("command=sweeps")
    jobs = json.loads((sweep / "summary.json").read_text())["jobs"]
    means = {}
    for temperature in ("1", "8"):
        own = [job["summary"] for job in jobs if f"temperature={temperature}" in job["overrides"]]
        means[sum(job["val"]["top1"] for job in own) / 2] = sum(job["test"]["top1"] for job in own) / 2
    assert run["top1"] == pytest.approx(means[max(means)])
    assert (run["jobs"], run["temperature"]) == (4, "1..8")


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["status=finished"], 3),
        (["status=diverged,failed"], 1),
        (["model=mlp_*", "dataset=mnist"], 4),
        (["model=lenet"], 0),
        (["teacher=mlp_30"], 2),
        (["command=train-teacher", "status=finished"], 1),
        (["sweep=2"], 4),
        (["sweep=2", "label=*seed=1"], 2),
        (["limit=2"], 2),
        (["-n", "1"], 1),
        (["--limit=0", "--all"], 9),
    ],
)
def test_filters_and_limits(tree: Path, filters: list[str], count: int, listed: Listed) -> None:
    assert len(listed(*filters)) == count


def test_numbers_sort_from_the_best_and_a_minus_turns_them_round(tree: Path, listed: Listed) -> None:
    best = [run["top1"] for run in listed("--all", "sort=top1")]
    worst = [run["top1"] for run in listed("--all", "sort=-top1")]
    assert best[:-1] == sorted(best[:-1], reverse=True)
    assert worst == [*best[-2::-1], None], "what has no number stands last both ways"
    assert [run["id"] for run in listed("sort=-started")] == [run["id"] for run in listed()][::-1]


def test_every_order_that_completion_offers_is_one() -> None:
    assert set(ORDERS) == set(_KEYS)


BROKEN: dict[str, Callable[[Path, Edit], object]] = {
    "run.json is missing": lambda run, edit: (run / "run.json").unlink(),
    "run.json is torn": lambda run, edit: (run / "run.json").write_text((run / "run.json").read_text()[:-20]),
    "run.json is a list": lambda run, edit: (run / "run.json").write_text("[]"),
    "run.json has no time": lambda run, edit: edit(run / "run.json", started="yesterday"),
    "run.json has no status": lambda run, edit: edit(run / "run.json", status="fine"),
    "run.json has no text": lambda run, edit: edit(run / "run.json", command=7),
    "run.json is a directory": lambda run, edit: ((run / "run.json").unlink(), (run / "run.json").mkdir()),
    "summary.json is missing": lambda run, edit: (run / "summary.json").unlink(),
    "summary.json is no JSON": lambda run, edit: (run / "summary.json").write_text("{"),
    "summary.json lacks test": lambda run, edit: edit(run / "summary.json", test=None),
    "summary.json has text for a number": lambda run, edit: edit(run / "summary.json", seed="0"),
    "the command is another": lambda run, edit: edit(run / "run.json", command="../sh"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_run_is_shown_with_its_reason_beside_the_others(
    tree: Path, capsys: Capture, damage: str, student: Path, listed: Listed, edit: Edit
) -> None:
    BROKEN[damage](student, edit)
    runs = listed()
    assert len(runs) == 4
    (broken,) = [run for run in runs if run["status"] == "broken"]
    assert broken["id"] == student.name
    assert broken["problem"]
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert f"broken: {student.relative_to(tree.parent)}: " in out
    assert [run["status"] for run in listed("status=broken")] == ["broken"]


def test_a_run_whose_process_is_gone_was_interrupted(student: Path, listed: Listed, edit: Edit) -> None:
    edit(student / "run.json", status="running", pid=2**22 + 1, ended=None)
    (run,) = listed("command=distill-student")
    assert (run["status"], run["model"], run["temperature"]) == ("interrupted", "mlp_30", 4.0)


def test_names_reach_the_terminal_without_control_characters(
    tree: Path, capsys: Capture, student: Path, edit: Edit
) -> None:
    edit(student / "summary.json", model="\x1b[31mred\n\u202e")
    (tree / "train-teacher" / "a\x1b]0;title\x07").mkdir()
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert not {mark for mark in out if ord(mark) < 32 and mark != "\n"}
    assert "\u202e" not in out
    assert "\\x1b[31mred" in out


@pytest.mark.parametrize("width", [80, 120, 200])
def test_lines_fit_and_parameters_go_before_metrics(
    tree: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(width_of, lines)) <= width
    assert "top-1 %" in lines[0]
    assert ("alpha" in lines[0]) == (width > 80)


def test_without_a_terminal_nothing_is_cut_and_ascii_is_enough(run_tree: Path) -> None:
    env = {**os.environ, "COLUMNS": "0", "PYTHONIOENCODING": "ascii"}
    line = [sys.executable, "-m", "kdcli", "runs"]
    done = subprocess.run(line, cwd=run_tree, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"4 jobs: mlp_30 <- mlp_30" in done.stdout


def test_where_there_is_nothing_it_says_what_to_do(tmp_path: Path, capsys: Capture) -> None:
    assert main(["runs", f"output_dir={tmp_path}/none"]) == 0
    assert "kd train-teacher" in capsys.readouterr().out


def test_where_nothing_fits_it_does_not_say_to_train(
    tmp_path: Path, capsys: Capture, student: Path, edit: Edit
) -> None:
    assert main(["runs", "model=nope"]) == 0
    assert capsys.readouterr().out.startswith("There is no run that fits model=nope under outputs. All there are: kd")
    shutil.copytree(student, tmp_path / "distill-student" / student.name)
    edit(tmp_path / "distill-student" / student.name / "run.json", smoke=True)
    assert main(["runs", f"output_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("but for trials with --smoke (1): kd runs --smoke")


def test_jobs_of_a_sweep_are_told_apart(capsys: Capture, monkeypatch: pytest.MonkeyPatch, sweep: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["runs", f"sweep={sweep.name}"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    told = [re.search(r"mlp_30 <- mlp_30: (temperature=\d seed=\d)", line) for line in lines]
    assert len({match[1] for match in told if match}) == len(lines) == 4


_LISTING = """
import sys, time
from kdcli.__main__ import main
code = main(["runs", "--all", "-n", "0", "sort=top1"])
sys.exit(code or any(name in sys.modules for name in ("torch", "hydra", "pydantic", "omegaconf")))
"""


def test_a_thousand_runs_take_less_than_half_a_second_and_neither_torch_nor_hydra(
    run_tree: Path, tmp_path: Path
) -> None:
    (source,) = (run_tree / "outputs" / "distill-student").glob("2*")
    for number in range(1000):
        run = tmp_path / "outputs" / "distill-student" / f"20260101T{number:06}Z-abcd"
        run.mkdir(parents=True)
        for name in ("run.json", "summary.json", "config.yaml"):
            shutil.copyfile(source / name, run / name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", _LISTING], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1001), done.stderr
    # Of the processor, which other tests that run beside this one do not slow down by much.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts=finished"], "did you mean 'status'?"),
        (["status=finishd"], "did you mean 'finished'?"),
        (["command=runs"], "command=runs"),
        (["command=distil-student"], "did you mean 'distill-student'?"),
        (["sort=top"], "did you mean 'top1'?"),
        (["-n", "many"], "no whole number"),
        (["latest"], "does not take 'latest'"),
        (["rm"], "needs a RUN"),
        (["--purge"], "belongs to kd runs rm"),
        (["--pivot=a:b"], "does not take --pivot"),
        (["rm", "nowhere"], "there is no run 'nowhere'"),
    ],
)
def test_wrong_words_are_refused(tree: Path, capsys: Capture, words: list[str], said: str) -> None:
    assert main(["runs", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
