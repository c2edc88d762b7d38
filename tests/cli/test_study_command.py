"""``kd study`` as it is typed: a chain of runs from a YAML file, gone through once, however often it is stopped."""

from __future__ import annotations

import json
import math
import os
import platform
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


def outcomes(found: Any) -> Any:
    """The results of all points, without what differs between two times."""
    return reference.timeless({label: [one["result"] for one in points] for label, points in found["runs"].items()})


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
    assert [point["result"] for point in found["runs"]["student"]] == [reference.summary(one) for one in students]
    assert [(point["seed"], point["run"], point["reused"]) for point in found["runs"]["student"]] == [
        (0, str(students[0]), False),
        (1, str(students[1]), False),
    ]
    assert found["command"].split()[0] == "kd"
    table = (place / "table.md").read_text()
    assert "| errors of the student | 74 |" in table
    began, ended = (found[key][:16].replace("T", " ") for key in ("started", "ended"))
    machine = f"{os.cpu_count()} CPUs, {platform.platform()}"
    assert f"|\n\n- `{found['command']}`: {began} to {ended} UTC; {machine}, python " in table
    assert "not reached" in said
    assert said.endswith(f"study {place}\nsee   {place}/report.html\n")

    kept = {name: digest for name, digest in reference.fingerprints(place).items() if "/" in name}
    assert main(["study", "mine.yaml", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert {name: digest for name, digest in reference.fingerprints(place).items() if "/" in name} == kept
    assert main(["resume", str(place)]) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_dry_run_refuses_what_the_study_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "quickstart", "fraction=2", "--dry-run"]) == 2
    assert "transfer.fraction = 2 is out of range" in capsys.readouterr().err
    assert not Path("outputs").exists()


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
        (("mine.yaml", "--budget=tiny"), "--budget=tiny is not known"),
        (("mine.yaml", "budget=short", "--budget=full"), "two budgets: full and short"),
        (("--schema=table",), "--schema=table is not known"),
        (("wrong.yaml",), "student: 2 of 2 jobs are wrong, none was started"),
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
    Path("wrong.yaml").write_text(CHAIN.replace("temperature=3", "optimiser.lr=3"))
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
    assert outcomes(whole) == outcomes(results(place))


GRID = """
title: A grid of students of teachers that are trained with the same seed
source: nobody
claim: It runs.
runs:
  teacher:
    command: train-teacher
    seeds: 2
    overrides: [model=mlp, "model.hidden=[9]", epochs=1, transfer.fraction=0.01, batch_size=32, device=cpu]
  student:
    command: distill-student
    teacher: teacher
    seeds: 2
    sweep: {temperature: [1, 2.5], model.hidden: [[6], [7]]}
    overrides: [model=mlp, epochs=1, transfer.fraction=0.01, batch_size=32, device=cpu, baseline=false]
  seen:
    command: evaluate
    run: student[temperature=1]
    overrides: [latency=false, device=cpu, "bias.classes=[3]"]
rows:
  - {name: errors, value: "student[temperature=2.5,model.hidden=[7]].test.errors"}
  - {name: best, value: {op: argmin, of: ["student[model.hidden=[7]].test.errors"], over: [temperature]}}
  - {name: p, value: {op: mcnemar, of: ["student[temperature=2.5,model.hidden=[7]]", teacher]}}
  - {name: seen, value: "seen[student.model.hidden=[6]].test.errors", why: another reader}
  - {name: corrected, value: "seen[student.model.hidden=[6]].bias.test.errors"}
figures:
  - {name: over_t, title: T, x: temperature, y_label: errors, log_x: true, lines: [{value: student.test.errors}]}
  - {name: bars, title: B, y_label: errors, bars: [errors, seen]}
"""


def test_a_grid_is_one_sweep_whose_points_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(GRID)
    assert main(["study", "mine.yaml", "--quiet"]) == 0
    place = place_of()
    found, sweep = results(place), part(place, "student", "sweeps")
    runs, teachers = found["runs"]["student"], [one["run"] for one in found["runs"]["teacher"]]
    assert sorted(one["run"] for one in runs) == sorted(str(sweep / f"{job:02d}") for job in range(8))
    for one in runs:
        job = reference.summary(Path(one["run"]))
        hidden = RunDir.open(Path(one["run"])).config()["model"]["hidden"]
        assert (job["temperature"], hidden, job["seed"]) == (
            one["point"]["temperature"], one["point"]["model.hidden"], one["seed"],
        )  # fmt: skip
        assert job["teacher"]["run"] == [teachers[one["seed"]]]
    rows = {row["name"]: row["values"] for row in found["rows"]}
    at = {(one["point"]["temperature"], *one["point"]["model.hidden"], one["seed"]): one["result"] for one in runs}
    assert rows["errors"] == [at[2.5, 7, seed]["test"]["errors"] for seed in (0, 1)]
    means = {t: sum(at[t, 7, seed]["test"]["errors"] for seed in (0, 1)) for t in (1, 2.5)}
    assert rows["best"] == [min(means, key=lambda t: means[t])]
    assert rows["seen"] == [at[1, 6, seed]["test"]["errors"] for seed in (0, 1)]
    assert all(after <= before for after, before in zip(rows["corrected"], rows["seen"], strict=True))
    assert len(rows["p"]) == 2
    wrong = [reference.probabilities(Path(name)).argmax(1) != reference.test_set()[1] for name in
             (teachers[0], next(one["run"] for one in runs if one["result"] is at[2.5, 7, 0]))]  # fmt: skip
    only = [int((wrong[0] & ~wrong[1]).sum()), int((wrong[1] & ~wrong[0]).sum())]
    chance = 2 * sum(math.comb(sum(only), k) for k in range(min(only) + 1)) / 2 ** sum(only)
    assert rows["p"][0] == pytest.approx(min(1, chance))
    assert found["figures"] == ["figures/over_t.svg", "figures/bars.svg"]
    drawn = (place / "figures" / "over_t.csv").read_text()
    assert drawn.count("model.hidden [6]") == drawn.count("model.hidden [7]") == 2
    assert "| seen |  |" in (place / "table.md").read_text()
    assert (place / "report.html").read_text().count("<figure>") == 2


PAIR = """
title: A teacher and its students
source: nobody
claim: It runs.
parameters: {seeds: 2, epochs: 1}
runs:
  teacher:
    command: train-teacher
    overrides: [model=mlp_30, "epochs=${epochs}", transfer.fraction=0.01, batch_size=32, device=cpu]
  student:
    command: distill-student
    teacher: teacher
    seeds: ${seeds}
    overrides: [model=mlp_30, "epochs=${epochs}", transfer.fraction=0.01, batch_size=32, device=cpu, baseline=false]
rows:
  - {name: errors, value: student.test.errors}
"""


def test_what_another_study_has_trained_is_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(PAIR)
    assert main(["study", "mine.yaml", "--quiet"]) == 0
    first, kept = results(place_of())["runs"], reference.fingerprints(place_of())
    Path("other.yaml").write_text(PAIR.replace("title: A teacher", "title: Another"))
    capsys.readouterr()
    assert main(["study", "other.yaml", "seeds=3"]) == 0
    said = capsys.readouterr().out
    (place,) = Path("outputs/studies/other").iterdir()
    second = results(place)["runs"]
    for label, count in (("teacher", 1), ("student", 2)):
        assert [one["run"] for one in second[label][:count]] == [one["run"] for one in first[label]]
        assert [one["reused"] for one in second[label]] == [True] * count + [False] * (len(second[label]) - count)
        assert f"{label}: {second[label][0]['run']}" in said
        assert f"- {label}: {second[label][0]['run']}" in (place / "table.md").read_text()
    assert second["student"][2]["run"] == str(part(place, "student", "distill-student"))
    assert second["student"][2]["result"]["seed"] == 2
    assert len(list(Path("outputs/targets").glob("*/answers.bin"))) == 1, "both have asked the teacher once"
    assert reference.fingerprints(place_of()) == kept


@pytest.mark.parametrize(
    "different", ["epochs=2", *(pytest.param(word, marks=pytest.mark.slow) for word in ("--smoke", "output_dir=else"))]
)
def test_what_is_not_the_same_is_trained(different: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(PAIR)
    assert main(["study", "mine.yaml", "seeds=1", "--quiet"]) == 0
    Path("other.yaml").write_text(PAIR)
    assert main(["study", "other.yaml", "seeds=1", different, "--quiet"]) == 0
    (place,) = Path(".").glob("*/studies/other/*")
    assert not any(one["reused"] for points in results(place)["runs"].values() for one in points)


def test_a_students_teacher_must_be_the_same_in_every_weight(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(PAIR)
    assert main(["study", "mine.yaml", "seeds=1", "--quiet"]) == 0
    Path("other.yaml").write_text(PAIR.replace("train-teacher\n", "train-teacher\n    first_seed: 7\n"))
    assert main(["study", "other.yaml", "seeds=1", "--quiet"]) == 0
    (place,) = Path("outputs/studies/other").iterdir()
    ((teacher,), (student,)) = (results(place)["runs"][label] for label in ("teacher", "student"))
    assert (teacher["result"]["seed"], teacher["reused"], student["reused"]) == (7, False, False)


def test_a_budget_is_for_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--budget=short"]) == 2
    assert "--budget is for studies" in capsys.readouterr().err
    assert main(["study", "mine.yaml", "--budget=smoke", "--dry-run"]) == 0
    assert "/smoke-" in capsys.readouterr().out


@pytest.mark.parametrize("of", ["study", "results"])
def test_the_schemas_are_printed(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", f"--schema={of}"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"rows", "runs"} <= schema["properties"].keys()
    if of == "results":
        validator = pytest.importorskip("jsonschema")
        assert main(["study", "mine.yaml", "--quiet"]) == 0
        validator.validate(results(place_of()), schema)


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


TWICE = """
title: Two teachers that a smoke run makes one, and their students
source: none
claim: It runs.
runs:
  teacher:
    command: train-teacher
    sweep: {epochs: [2, 3]}
    overrides: [model=mlp_30, transfer.fraction=0.01, batch_size=32, device=cpu]
  student:
    command: distill-student
    teacher: teacher
    seeds: 2
    overrides: [model=mlp, "model.hidden=[10]", transfer.fraction=0.01, batch_size=32, device=cpu]
rows: []
"""


def test_points_that_are_the_same_training_are_trained_once() -> None:
    Path("twice.yaml").write_text(TWICE)
    assert main(["study", "twice.yaml", "--smoke", "--quiet"]) == 0
    (place,) = Path("outputs/studies/twice").iterdir()
    runs = [point["run"] for point in results(place)["runs"]["student"]]
    assert runs[:2] == runs[2:]
    assert len({*runs}) == 2
    assert len(list(part(place, "student", "sweeps").glob("0?"))) == 2
