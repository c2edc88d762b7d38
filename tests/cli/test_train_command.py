"""``kd train-teacher`` as it is typed, here in this process: what it says, what it leaves, how it fails."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir

TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "model=mlp_30", "--progress=none")
NETS = """
import torch

def tiny(input_shape, classes, width=8):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, width), torch.nn.Linear(width, classes))
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nets(tmp_path: Path) -> Iterator[str]:
    """A module of the user's own in the current directory."""
    (tmp_path / "my_nets.py").write_text(NETS)
    yield "my_nets:tiny"
    sys.modules.pop("my_nets", None)


def only_run(command: str) -> RunDir:
    (path,) = Path("outputs", command).iterdir()
    return RunDir.open(path)


def summary(run: RunDir) -> Any:
    return json.loads((run.path / "summary.json").read_text())


def test_temperature_and_alpha_are_ignored_said_to_be_and_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "temperature=4", "alpha=linear"]) == 0
    said, run = capsys.readouterr(), only_run("train-teacher")
    assert "temperature=4, alpha=linear ignored" in said.err
    assert [summary(run)[key] for key in ("temperature", "alpha")] == [None, None]
    assert summary(run)["test"]["errors"] == int(said.out.split(" right: ")[1].split(" errors")[0].replace(",", ""))
    assert said.out.splitlines()[-2:] == [f"run   {run.path}", "next  kd distill-student teacher=latest"]


def test_the_next_line_is_about_the_same_data_and_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    csv = Path("my flowers, [2].csv")
    csv.write_text("width,kind\n" + "1.5,a\n2.5,b\n" * 50)
    table = [f"dataset.path='{csv}'", "dataset.target=kind"]
    for data in (["dataset=letter"], ["dataset=csv", *table]):
        assert main(["train-teacher", "model=mlp_30", *data, "--smoke"]) == 0
        trained = shlex.split(capsys.readouterr().out.splitlines()[-1])
        assert main(["evaluate", "run=latest", "--smoke"]) == 0
        measured = shlex.split(capsys.readouterr().out.splitlines()[-1])
        for program, *line in (trained[1:], measured[1:]):
            assert program == "kd"
            assert set(data) <= set(line)
            assert main([*line, "model=mlp_30", "--dry-run"]) == 0


def test_the_next_line_trusts_code_of_the_users_own(nets: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["model=custom", f"model.target={nets}", "model.arguments.width=4", "dataset.val_fraction=0.2"]
    assert main(["train-teacher", *own, "--smoke"]) == 0
    _, program, *line = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert program == "kd"
    assert {"dataset.val_fraction=0.2", "trust_code=true"} <= set(line)
    assert main([*line, "model=mlp_30", "--dry-run"]) == 0


def test_a_run_started_by_itself_has_figures_and_a_report_unless_the_environment_leaves_them_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-teacher", *TINY, "--quiet"]) == 0
    run = only_run("train-teacher")
    assert not (run.path / "report.html").exists()
    assert "report.html" not in capsys.readouterr().out
    shutil.rmtree("outputs")
    monkeypatch.delenv("KD_NO_REPORT")
    assert main(["train-teacher", *TINY, "--quiet"]) == 0
    run = only_run("train-teacher")
    assert f"see   {run.path}/report.html" in capsys.readouterr().out.splitlines()
    assert list((run.path / "figures").glob("*.png"))
    assert "<html" in (run.path / "report.html").read_text()
    assert {path.name for path in Path().iterdir()} == {"outputs"}


def test_json_is_the_summary_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == summary(only_run("train-teacher"))


def test_divergence_is_one_screen_and_exit_code_5(capsys: pytest.CaptureFixture[str]) -> None:
    hopeless = ("optimizer=sgd", "optimizer.lr=50", "optimizer.weight_decay=1", "lr_schedule=constant")
    assert main(["train-teacher", *TINY, *hopeless]) == 5
    said, run = capsys.readouterr(), only_run("train-teacher")
    assert "diverged in epoch 1, step " in said.err
    assert "lr 50, total " in said.err
    assert f"where: {run.path}" in said.err
    assert "Traceback" not in said.err
    assert (said.out, run.record.status) == ("", "diverged")
    assert main(["resume", str(run.path)]) == 5
    again = capsys.readouterr().err
    assert "nothing is left to train after step " in again
    assert "diverged in epoch 1, step " in again


@pytest.mark.parametrize("members", [(), ("members=2",)])
def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], members: tuple[str, ...]) -> None:
    assert main(["train-teacher", *TINY, *members, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert plan.count("mlp_30, 24,790 parameters") == 1 + len(members)
    assert plan.endswith("nothing was written; one batch went forward and backward\n")
    assert list(Path().iterdir()) == []


def test_smoke_runs_are_marked_and_count_only_for_smoke_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "epochs=30", "--smoke"]) == 0
    said, run = capsys.readouterr(), only_run("train-teacher")
    assert "This was a smoke run" in said.out
    assert said.out.splitlines()[-1].endswith(" --smoke")
    assert (run.record.smoke, run.config()["epochs"]) == (True, 1)
    assert main(["distill-student", *TINY, "teacher=latest"]) == 2
    assert "smoke runs (1), which count only with --smoke" in capsys.readouterr().err
    assert main(["distill-student", *TINY, "teacher=latest", "--smoke", "--quiet"]) == 0
    assert only_run("distill-student").record.smoke


def test_a_network_of_the_users_own_trains_and_teaches_where_it_is_trusted(
    nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("model=custom", f"model.target={nets}", "+model.arguments.width=12")
    assert main(["train-teacher", *TINY[:-2], *own, "--progress=none"]) == 0
    found = summary(only_run("train-teacher"))
    assert (found["model"], found["parameters"]) == (nets, 784 * 12 + 12 + 12 * 10 + 10)
    capsys.readouterr()
    distil = ["distill-student", *TINY, "teacher=latest", "baseline=false"]
    assert main(distil) == 2
    said = capsys.readouterr().err
    assert "trust_code=true" in said
    assert nets in said
    assert not Path("outputs/distill-student").exists()
    assert main([*distil, "trust_code=true"]) == 0
