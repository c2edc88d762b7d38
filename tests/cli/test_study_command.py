"""``kd study`` as it is typed: a chain of runs from a YAML file, gone through once, however often it is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir
from tests.program import reference

pytestmark = pytest.mark.xdist_group("study")

CHAIN = """
title: A teacher, its assistant, and a student of the assistant
source: Mirzadeh 2020
claim: It runs.
parameters:
  seeds: 2
  epochs: 2
  fraction: 0.01
budgets:
  smoke:
    seeds: 1
runs:
  teacher:
    command: train-teacher
    overrides: [model=mlp_30, "epochs=${epochs}", "transfer.fraction=${fraction}", batch_size=32, device=cpu]
  assistant:
    command: distill-student
    teacher: teacher
    overrides:
      [model=mlp, "model.hidden=[20]", "epochs=${epochs}", "transfer.fraction=${fraction}", batch_size=32, device=cpu,
       baseline=false]
  student:
    command: distill-student
    teacher: assistant
    seeds: ${seeds}
    overrides:
      [model=mlp, "model.hidden=[10]", "epochs=${epochs}", "transfer.fraction=${fraction}", batch_size=32, device=cpu,
       temperature=3]
rows:
  - {name: errors of the teacher, value: teacher.test.errors, digits: 0, expect: [0, 10000]}
  - {name: errors of the student, value: student.test.errors, paper: 74, expect: [0, 10]}
  - {name: its share of the gap, value: student.baseline.gap_closed, note: where there is one}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CHAIN)


def place_of(pattern: str = "*") -> Path:
    (place,) = Path("outputs/studies/mine").glob(pattern)
    return place


def part(place: Path, label: str, kind: str) -> Path:
    (path,) = (place / label / kind).iterdir()
    return path


def results(place: Path) -> Any:
    return json.loads((place / "results.json").read_text())


def test_a_study_of_the_users_own_runs_a_chain_and_judges_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "mine.yaml", "--quiet"]) == 0
    said, place = capsys.readouterr().out, place_of("full-*")
    teacher, assistant = part(place, "teacher", "train-teacher"), part(place, "assistant", "distill-student")
    students = [part(place, "student", "sweeps") / job for job in ("00", "01")]
    assert reference.summary(assistant)["teacher"]["run"] == [str(teacher)]
    assert [reference.summary(student)["teacher"]["run"] for student in students] == [[str(assistant)]] * 2
    assert [reference.summary(student)["seed"] for student in students] == [0, 1]

    found = results(place)
    assert (found["schema"], found["study"], found["source"]) == (1, "mine", "Mirzadeh 2020")
    first, second, third = found["rows"]
    assert (first["values"], first["verdict"]) == ([reference.summary(teacher)["test"]["errors"]], "as expected")
    errors = [reference.summary(student)["test"]["errors"] for student in students]
    assert (second["values"], second["paper"], second["verdict"]) == (errors, 74, "not reached")
    gaps = [reference.summary(student)["baseline"]["gap_closed"] for student in students]
    assert (third["values"], third["verdict"]) == ([gap for gap in gaps if gap is not None], "")
    assert found["runs"]["student"] == [reference.summary(student) for student in students]
    assert "| errors of the student | 74 |" in (place / "table.md").read_text()
    assert "not reached" in said
    assert said.endswith(f"study {place}\n")

    kept = {name: digest for name, digest in reference.fingerprints(place).items() if "/" in name}
    assert main(["study", "mine.yaml", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert {name: digest for name, digest in reference.fingerprints(place).items() if "/" in name} == kept
    assert main(["resume", str(place)]) == 0
    assert "is finished" in capsys.readouterr().out


def test_budgets_and_parameters_have_places_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "mine.yaml", "--smoke", "budget=full", "output_dir=my outputs, all", "--quiet"]) == 0
    (place,) = Path("my outputs, all/studies/mine").iterdir()
    assert place.name.startswith("smoke-")
    student = part(place, "student", "distill-student")
    assert RunDir.open(student).record.smoke
    assert reference.summary(student)["test"]["n"] == 512
    capsys.readouterr()
    assert main(["study", "mine.yaml", "fraction=0.02", "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert main(["study", "mine.yaml", "--dry-run"]) == 0
    assert planned.splitlines()[-1] != capsys.readouterr().out.splitlines()[-1]
    assert planned.startswith("teacher: kd train-teacher model=mlp_30 epochs=2 transfer.fraction=0.02 ")
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("mine.yaml", "seed=3"), "no parameter 'seed'"),
        (("mine.yaml", "budget=tiny"), "budget=tiny is not known"),
        (("mine.yaml", "seeds=many"), "seeds"),
        (("quickstrat",), "did you mean"),
        (("absent.yaml",), "there is no study 'absent.yaml'"),
        (("mine.yaml", "quickstart"), "one study at a time"),
        (("mine.yaml", "seeds=[1"), "cannot be read"),
        (("broken.yaml",), "where: broken.yaml:3"),
    ],
)
def test_refusals_write_nothing(words: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.yaml").write_text("title: x\nruns: [\n")
    assert main(["study", *words]) == 2
    assert what in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_without_a_name_the_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    assert "quickstart\n    Quickstart" in capsys.readouterr().out


def test_a_part_that_fails_is_recorded_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    hopeless = "optimizer=sgd, optimizer.lr=50, optimizer.weight_decay=1, lr_schedule=constant, model=mlp_30"
    Path("mine.yaml").write_text(CHAIN.replace("model=mlp_30", hopeless))
    for _ in range(2):
        assert main(["study", "mine.yaml", "--quiet"]) == 5
        assert "diverged in epoch 1" in capsys.readouterr().err
        place = place_of()
        assert reference.status(place) == "diverged"
        assert reference.status(part(place, "teacher", "train-teacher")) == "diverged"
    assert not (place / "assistant").exists()


def test_a_study_whose_process_was_killed_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    # Summaries: the teacher's, the assistant's, then those of the cohort of two students and two baselines.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KD_FAILPOINT": "summary.json.replaced:4"}
    command = [sys.executable, "-m", "kdcli", "study", "mine.yaml", "--quiet"]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == 137, killed.stderr
    place = place_of()
    assert (reference.status(place), RunDir.open(place).status) == ("running", "interrupted")
    done = [part(place, "teacher", "train-teacher"), part(place, "assistant", "distill-student")]
    before = [reference.fingerprints(path) for path in done]
    assert main(["resume", "latest", "--quiet"]) == 0
    assert [reference.fingerprints(path) for path in done] == before
    assert [len(row["values"]) for row in results(place)["rows"][:2]] == [1, 2]
    assert reference.status(place) == "finished"
    capsys.readouterr()
    assert main(["study", "mine.yaml", "output_dir=whole", "--json", "--quiet"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert reference.timeless(whole["runs"]) == reference.timeless(results(place)["runs"])


STOPPING_NETS = """
import os, signal
from pathlib import Path
import torch

class Net(torch.nn.Linear):
    def __init__(self, *_, **__):
        super().__init__(784, 10)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        if self.calls == 5 and Path("stop").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(images.flatten(1))
"""


STOPPED = """
title: It is stopped
source: nobody
claim: none
runs:
  whole:
    command: train-teacher
    overrides: [model=mlp_30, epochs=1, transfer.fraction=0.01, batch_size=32, device=cpu]
  stopped:
    command: train-teacher
    seeds: 2
    overrides: [model=custom, model.target=stopping_nets:Net, epochs=1, transfer.fraction=0.01, device=cpu]
rows: []
"""


def test_a_study_that_is_stopped_says_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(STOPPED)
    Path("stopping_nets.py").write_text(STOPPING_NETS)
    Path("stop").touch()
    assert main(["study", "mine.yaml", "--quiet"]) == 143
    place = place_of()
    assert f"do: kd resume {place}" in capsys.readouterr().err
    sweep = part(place, "stopped", "sweeps")
    stopped = [place, sweep, sweep / "00", sweep / "01"]
    assert [reference.status(path) for path in stopped] == ["interrupted"] * 4
    assert reference.status(part(place, "whole", "train-teacher")) == "finished"


def test_code_that_a_studys_directory_names_is_run_only_where_it_is_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    own = "model=custom, model.target=nobody_has_this:Net"
    Path("mine.yaml").write_text(CHAIN.replace("model=mlp_30", own))
    assert main(["study", "mine.yaml", "--quiet"]) == 2
    assert "there is no module 'nobody_has_this'" in capsys.readouterr().err
    assert main(["resume", str(place_of())]) == 2
    said = capsys.readouterr().err
    assert "model=custom in a file would run code" in said
    assert "trust_code=true" in said
