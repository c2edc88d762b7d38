"""Students that learn from synthetic cases: what they are taught, in how many steps, beside which baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, relu, softmax

from kdcli.__main__ import main
from kdcli.build import build_network, load_data
from kdcli.data.letter import letter_p2
from kdcli.program.run import Manner
from kdcli.program.student import distill_student
from kdcli.program.sweep import Plan, plan_sweep
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from tests.program import reference
from tests.synthetic.test_munge import slowly

Configure = Callable[..., Any]
Distil = Callable[..., RunDir]
# 100 originals and 100 cases.
TINY = ("dataset=letter_p2", "device=cpu", "epochs=1", "batch_size=32", "optimizer.lr=0.01")
CASES = ("transfer=munge", "transfer.fraction=0.025", "transfer.cases=100", "transfer.p=0.4", "transfer.s=2")
STUDENT = ("model=mlp_shallow", "model.hidden=[9]", "alpha.value=1", "temperature.value=1", "transfer.seed=3")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def teacher(configure: Configure, manner: Manner, outputs: Path) -> RunDir:
    config = configure("train-teacher", *TINY, "model=mlp_shallow", "model.hidden=[12]", f"output_dir={outputs}")
    return train_teacher(config, manner)


@pytest.fixture(scope="module")
def distil(configure: Configure, manner: Manner, outputs: Path, teacher: RunDir) -> Distil:
    def distilled(*overrides: str) -> RunDir:
        options = (*TINY, *CASES, *STUDENT, f"output_dir={outputs}", f"teacher={teacher.path}", *overrides)
        return distill_student(configure("distill-student", *options), [teacher], manner)

    return distilled


@pytest.fixture(scope="module")
def student(distil: Distil) -> RunDir:
    return distil("transfer.cases=300")


def rows() -> Tensor:
    inputs = letter_p2().train.inputs
    assert isinstance(inputs, Tensor)
    return inputs[:4000]


def forward(weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Logits of a network with one hidden layer, in float64, for raw rows: normalised as on the training part."""
    known = rows().double()
    standardised = (inputs.double() - known.mean(0)) / known.std(0, correction=0)
    hidden = relu(standardised @ weights["hidden.0.weight"].T + weights["hidden.0.bias"])
    return hidden @ weights["output.weight"].T + weights["output.bias"]


def doubled(weights: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value).double() for name, value in weights.items()}


def test_one_step_goes_down_the_gradient_of_the_cross_entropy_with_the_teacher(
    distil: Distil, teacher: RunDir, configure: Configure
) -> None:
    """On the originals and on the cases of the slow algorithm, worked out by autograd in float64."""
    plain = ("optimizer=sgd", "optimizer.lr=0.5", "optimizer.momentum=0", "optimizer.nesterov=false")
    run = distil("batch_size=1000", *plain, "lr_schedule=constant", "select=last", "baseline=false")
    config = configure("distill-student", "teacher=any", *TINY, *CASES, *STUDENT)
    labelled = configure("train-teacher", *TINY, "transfer.fraction=0.025", "transfer.seed=3")
    data = load_data(labelled.dataset, labelled.transfer, torch.device("cpu"), smoke=False, batch_size=1)
    originals = rows()[data.transfer]
    seen = torch.cat([originals, slowly(originals, set(), 1, 0.4, 2.0, seed=3)])
    answers = softmax(forward(doubled(reference.weights(teacher.path)), seen), 1)
    net = build_network(config.model, letter_p2(), config.seed)
    weights = {name: value.detach().double().requires_grad_() for name, value in net.state_dict().items()}
    loss = -(answers * log_softmax(forward(weights, seen), 1)).sum(1).mean()
    loss.backward()
    found = doubled(reference.weights(run.path, "last"))
    for name, value in weights.items():
        assert value.grad is not None
        torch.testing.assert_close(found[name], value - 0.5 * value.grad, atol=2e-6, rtol=0)
        assert float(value.grad.abs().max()) > 1e-3
    assert reference.summary(run.path)["transfer"] == {"kind": "munge", "examples": 200, "cases": 100}


def test_no_label_is_looked_at(student: RunDir) -> None:
    assert {line["train/hard"] for line in reference.metrics(student.path)} == {None}
    assert reference.summary(student.path)["alpha"] == 1


def test_the_baseline_learns_from_the_originals_in_as_many_steps(student: RunDir) -> None:
    found, baseline = reference.summary(student.path), reference.summary(student.path / "baseline")
    assert found["transfer"] == {"kind": "munge", "examples": 400, "cases": 300}
    assert baseline["transfer"] == {"kind": "training_set", "examples": 100, "cases": 0}
    assert found["steps"] == baseline["steps"] == 13
    section = RunDir.open(student.path / "baseline").config()["transfer"]
    assert section == {
        "kind": "training_set", "fraction": 0.025, "omit": [], "only": [], "seed": 3, "labels": True,
    }  # fmt: skip
    assert baseline["loss"] == "hard"


def test_the_configuration_says_how_the_cases_were_made(student: RunDir) -> None:
    section = student.config()["transfer"]
    made = {"kind": "munge", "p": 0.4, "s": 2, "cases": 300, "seed": 3, "keep_original": True, "fraction": 0.025}
    assert section == made | {"omit": [], "only": []}


def test_answers_are_kept_for_the_same_cases_and_no_others(distil: Distil, outputs: Path, tmp_path: Path) -> None:
    store = tmp_path / "targets"
    kept = []
    for words in ((), ("seed=7", "transfer.s=2.0"), ("transfer.s=3",), ("transfer.p=0.5",), ("transfer.seed=4",)):
        distil(f"targets.store={store}", "baseline=false", *words)
        kept.append(len([path for path in store.iterdir() if not path.name.startswith(".")]))
    assert kept == [1, 1, 2, 3, 4]


@pytest.fixture
def planned(configure: Configure) -> Callable[..., Plan]:
    """The plan of a sweep over such jobs."""

    def plan(*jobs: str) -> Plan:
        options = ("teacher=any", *TINY, *CASES, *STUDENT)
        return plan_sweep([configure("distill-student", *options, job) for job in jobs])

    return plan


def test_seeds_train_as_one_program_and_other_cases_do_not(planned: Callable[..., Plan]) -> None:
    assert [list(group) for group in planned("seed=0", "seed=1", "seed=2").groups] == [[0, 1, 2]]
    for key, values in (("cases", (200, 300)), ("seed", (0, 1)), ("p", (0.1, 0.2)), ("s", (1, 2))):
        assert [list(group) for group in planned(*(f"transfer.{key}={each}" for each in values)).groups] == [[0], [1]]


def test_jobs_share_a_baseline_where_they_take_as_many_steps(planned: Callable[..., Plan]) -> None:
    assert planned("transfer.p=0.1", "transfer.p=0.2", "transfer.s=9").baseline_of == {0: 0, 1: 0, 2: 0}
    assert planned("transfer.cases=200", "transfer.cases=100").baseline_of == {0: 0, 1: 1}


def test_a_sweep_over_the_number_of_cases_compares_each_with_a_baseline_of_its_length(
    teacher: RunDir, tmp_path: Path
) -> None:
    words = (*TINY, *CASES, "model=mlp_shallow", "model.hidden=[9]", "alpha=1", "temperature=1", "--progress=none")
    sizes = "transfer.cases=60,220"
    assert main(["distill-student", "-m", *words, f"teacher={teacher.path}", sizes, f"output_dir={tmp_path}"]) == 0
    (sweep,) = (tmp_path / "sweeps").iterdir()
    for job, steps in (("00", 5), ("01", 10)):
        found = reference.summary(sweep / job)
        assert found["steps"] == steps
        assert reference.summary(Path(found["baseline"]["run"]))["steps"] == steps


def test_the_command_line_says_what_is_made(
    teacher: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["distill-student", f"teacher={teacher.path}", "dataset=letter_p2", "device=cpu", "transfer=nbe"]
    assert main([*words, "transfer.cases=200", "alpha=1", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "data     letter_p2: 4,000 of 4,000 training examples, 200 synthetic cases, 1,000 for validation" in said.out
    assert "making 200 synthetic cases of 4,000 examples" in said.err
    assert main([*words, "transfer.cases=500000", "alpha=1", "--smoke", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["transfer"] == {"kind": "nbe", "examples": 512, "cases": 256}
    assert main(["train-teacher", "transfer=munge"]) == 2
    assert "transfer=munge leaves train-teacher nothing to learn from" in capsys.readouterr().err
