"""``kd compare`` on real runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main

pytestmark = pytest.mark.xdist_group("runs")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def tree(run_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree, which is the working directory."""
    monkeypatch.chdir(run_tree)
    return run_tree / "outputs"


def name(tree: Path, kind: str) -> str:
    return next(path.name for path in sorted((tree / kind).iterdir()) if (path / "summary.json").exists())


def compared(capsys: Capture, *args: str) -> Any:
    capsys.readouterr()
    assert main(["compare", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_sweep_is_its_jobs_grouped_over_seeds(tree: Path, capsys: Capture) -> None:
    sweep = name(tree, "sweeps")
    content = compared(capsys, sweep)
    assert content["differing"] == ["temperature"]
    assert [group["settings"] for group in content["groups"]] == [{"temperature": 1.0}, {"temperature": 8.0}]
    for group, jobs in zip(content["groups"], [("00", "01"), ("02", "03")], strict=True):
        tops = [
            json.loads((tree / "sweeps" / sweep / job / "summary.json").read_text())["test"]["top1"] for job in jobs
        ]
        assert [run["id"] for run in group["runs"]] == [f"{sweep}/{job}" for job in jobs]
        found = group["measures"]["test_top1"]
        assert (found["n"], found["mean"]) == (2, pytest.approx(statistics.fmean(tops)))
        assert found["sd"] == pytest.approx(statistics.stdev(tops))


def test_best_last_and_epoch_are_those_of_the_metrics_file(tree: Path, capsys: Capture) -> None:
    student = name(tree, "distill-student")
    content = compared(capsys, student, name(tree, "train-teacher"))
    lines = (tree / "distill-student" / student / "metrics.jsonl").read_text().splitlines()
    tops = [json.loads(line)["val/top1"] for line in lines]
    measures = content["groups"][0]["runs"][0]["measures"]
    assert measures["val_top1_best"] == max(tops)
    assert measures["val_top1_epoch"] == 1 + tops.index(max(tops))
    assert measures["val_top1_last"] == tops[-1]


def test_last_takes_the_newest_finished_trainings(tree: Path, capsys: Capture) -> None:
    content = compared(capsys, "--last", "5")
    ids = [run["id"] for group in content["groups"] for run in group["runs"]]
    assert ids == [name(tree, "train-teacher"), name(tree, "distill-student")]


def test_a_student_and_its_baseline_are_tested_as_the_summary_says(tree: Path, capsys: Capture) -> None:
    student = f"outputs/distill-student/{name(tree, 'distill-student')}"
    (test,) = compared(capsys, f"{student}/baseline", student)["paired"]
    summary = json.loads(Path(student, "summary.json").read_text())["baseline"]
    assert (test["a"], test["b"]) == (student, f"{student}/baseline")
    assert test["p_value"] == summary["p_value"]


def test_others_are_tested_by_an_evaluation_and_until_then_it_says_how(
    tree: Path, tmp_path: Path, capsys: Capture
) -> None:
    copied = tmp_path / "outputs"
    shutil.copytree(tree, copied)
    sweep = name(tree, "sweeps")
    pair = [str(copied / "sweeps" / sweep / job) for job in ("00", "02")]
    asked = ["compare", *pair, f"output_dir={copied}"]
    assert main(asked) == 0
    assert "kd evaluate" in capsys.readouterr().out
    where = [f"output_dir={copied}", "device=cpu", "latency=false", "--quiet", "--json"]
    assert main(["evaluate", f"run=[{','.join(pair)}]", *where]) == 0
    (test,) = json.loads(capsys.readouterr().out)["paired"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert f"{test['only_a']:,} only 1 gets right, {test['only_b']:,} only 2" in out


@pytest.mark.parametrize("written", ["table", "md", "csv", "json", "latex"])
@pytest.mark.parametrize("asked", [[], ["--pivot", "temperature:seed"]])
def test_every_format_is_alone_on_stdout(tree: Path, capsys: Capture, written: str, asked: list[str]) -> None:
    assert main(["compare", name(tree, "sweeps"), "--format", written, *asked]) == 0
    out = capsys.readouterr().out
    starts = {"table": " ", "md": "| ", "csv": "temperature:seed" if asked else "run,group", "json": "{", "latex": "%"}
    assert out.startswith(starts[written])
    assert "\x1b" not in out
    if written == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert [len(rows), len({len(row) for row in rows})] == ([3, 1] if asked else [5, 1])


def test_what_has_not_finished_is_left_out_and_named(tree: Path, capsys: Capture) -> None:
    diverged = next(path for path in (tree / "train-teacher").iterdir() if not (path / "summary.json").exists())
    assert main(["compare", diverged.name, name(tree, "sweeps")]) == 0
    assert f"{diverged.name} is diverged" in capsys.readouterr().err
    assert main(["compare", diverged.name]) == 2


def test_a_schedule_and_a_constant_stand_in_one_column(tree: Path, tmp_path: Path, capsys: Capture) -> None:
    jobs = [Path(shutil.copytree(tree / "sweeps" / name(tree, "sweeps") / job, tmp_path / job)) for job in ("00", "02")]
    config = (jobs[0] / "config.yaml").read_text()
    constant = "temperature:\n  kind: constant\n  value: 1.0\n"
    assert constant in config
    linear = "temperature:\n  kind: linear\n  start: 8.0\n  end: 1.0\n"
    (jobs[0] / "config.yaml").write_text(config.replace(constant, linear))
    content = compared(capsys, *map(str, jobs))
    assert [group["settings"] for group in content["groups"]] == [
        {"temperature": "linear", "temperature.start": 8.0, "temperature.end": 1.0},
        {"temperature": 8.0, "temperature.start": None, "temperature.end": None},
    ]
    grid = compared(capsys, *map(str, jobs), "--pivot", "temperature:alpha")["pivot"]
    assert grid["row_values"] == ["8", "linear"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "two finished trainings, got 0"),
        (["--last", "1"], "two finished trainings, got 1"),
        (["--last", "2", "--pivot", "temperature"], "names no two keys"),
        (["--last", "2", "--pivot", "temprature:alpha"], "did you mean 'temperature'?"),
        (["--last", "2", "--format", "mdd"], "did you mean 'md'?"),
        (["--last", "2", "metric=test_top1"], "metric= is that of a grid"),
        (["--last", "2", "metric=test_top"], "did you mean 'test_top1'?"),
        (["--last", "2", "metrics=test_top1"], "did you mean 'metric'?"),
    ],
)
def test_wrong_words_are_refused(capsys: Capture, words: list[str], said: str) -> None:
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_torch_is_not_needed(tree: Path) -> None:
    code = "import sys; from kdcli.__main__ import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    line = [sys.executable, "-c", code, "compare", name(tree, "sweeps")]
    assert subprocess.run(line, capture_output=True, timeout=60).returncode == 0
