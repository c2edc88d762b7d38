"""Nine faults of a well-known distillation notebook, and for each why it cannot happen here.

Where another test proves it in full, it is named, and must exist.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdcli import build
from kdcli.commands.reporting import write_report
from kdcli.data.source import TensorSource
from kdcli.engine.results import EpochResult
from kdcli.losses import soft_target_kl
from kdcli.models.mlp import Mlp
from kdcli.objective import Objective, Span
from kdcli.rundir import RunDir, read_metrics
from kdcli.schema import DistillStudent, parse_config
from kdcli.teachers import Teacher

TESTS = Path(__file__).parent
CPU = torch.device("cpu")
SMALL = ["dataset=letter", "model=mlp", "model.hidden=[12]", "transfer.fraction=0.01", "epochs=2", "batch_size=32"]
CONSTANT = {"kind": "constant"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def student(configure: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> DistillStudent:
    outputs = tmp_path_factory.mktemp("notebook")
    config = configure("distill-student", "teacher=latest", "device=cpu", f"output_dir={outputs}", *SMALL)
    assert isinstance(config, DistillStudent)
    return config


def changed(config: DistillStudent, **sections: Any) -> Any:
    data = config.model_dump()
    for key, value in sections.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and "kind" not in value else value
    return parse_config("distill-student", data)


@pytest.fixture(scope="module")
def data(student: DistillStudent) -> build.Data:
    return build.load_data(student.dataset, student.transfer, CPU, smoke=False, batch_size=student.batch_size)


@pytest.fixture
def teacher(student: DistillStudent, data: build.Data) -> Teacher:
    """A network like the notebook's: dropout after its hidden layers, and batch norm that has seen some data."""
    options = {"dropout": 0.8, "batch_norm": True}
    net = build.build_network(changed(student, model=options).model, data.dataset, 50)
    with torch.no_grad():
        for part in data.train[:200].split(50):
            net(data.normalization(data.source.gather(part)))
    return Teacher([net], [data.normalization], "arithmetic")


def trained(configs: Sequence[DistillStudent], data: build.Data, teacher: Teacher) -> tuple[Any, list[EpochResult]]:
    fit = build.build_fit(configs, data, build.build_bank(configs, data), teacher)
    return fit, [event for event in fit.events() if isinstance(event, EpochResult)]


def assert_proven_by(path: str, name: str) -> None:
    """The test of this name stands in this file."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_1_dropout_is_off_when_the_teacher_answers_and_in_every_evaluation(data: build.Data, teacher: Teacher) -> None:
    """There, dropout stayed on while soft targets were made and accuracies measured, and 0.8 dropped 80 %."""
    raw = data.source.gather(data.val)
    first, second = (teacher.logits(raw) for _ in range(2))
    assert torch.equal(first, second)
    [net] = teacher.networks
    assert isinstance(net, Mlp)
    [linear], [norm] = net.hidden, net.norm
    hidden = functional.batch_norm(
        linear(data.normalization(raw)), norm.running_mean, norm.running_var, norm.weight, norm.bias
    )
    torch.testing.assert_close(first[0], net.output(hidden.relu()), rtol=1e-4, atol=1e-5)
    net.train()
    assert not torch.allclose(net(data.normalization(raw)), first[0], atol=0.1)
    zeroed = (net.dropout(torch.ones(10_000)) == 0).double().mean()
    assert zeroed == pytest.approx(0.8, abs=0.02)  # the share that is dropped, as the option's comment says
    assert_proven_by("engine/test_predict.py", "test_validation_measures_every_network_as_it_is_in_evaluation")


def test_2_the_teacher_stays_in_evaluation_mode_and_its_batch_norm_as_it_was(
    student: DistillStudent, data: build.Data, teacher: Teacher
) -> None:
    """There, the teacher was never put in eval(), and distillation moved its running statistics."""
    before = {name: tensor.clone() for name, tensor in teacher.networks[0].state_dict().items()}
    trained([student], data, teacher)
    after = teacher.networks[0].state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert not any(module.training for module in teacher.networks[0].modules())
    assert_proven_by("test_teachers.py", "test_the_hash_notices_a_teacher_in_training_mode")


def test_3_the_divergence_is_summed_over_classes_and_weighed_by_alpha_and_the_squared_temperature_alone() -> None:
    """There, 'mean' divided by the classes too, and (2 T^2 + alpha) stood for a weight: 80 against 0.3."""
    draw = torch.Generator().manual_seed(0)
    logits, answers = (torch.randn(1, 8, 10, generator=draw, dtype=torch.float64) * 3 for _ in range(2))
    temperature, alpha, labels = 20.0, 0.7, torch.arange(8)
    p, q = ((each[0] / temperature).softmax(-1) for each in (answers, logits))
    by_hand = temperature**2 * sum(float(p[b, c] * (p[b, c] / q[b, c]).log()) for b in range(8) for c in range(10)) / 8
    assert soft_target_kl(logits, answers[0], temperature).item() == pytest.approx(by_hand, rel=1e-9)
    averaged = temperature**2 * functional.kl_div((logits[0] / temperature).log_softmax(-1), p, reduction="none").mean()
    assert averaged.item() == pytest.approx(by_hand / 10)
    objective = Objective([Span(alpha, alpha)], "kd")
    terms = objective(logits, labels, answers, torch.tensor([temperature]), torch.tensor([alpha]))
    hard = functional.cross_entropy(logits[0], labels).item()
    assert terms.total.item() == pytest.approx(0.3 * hard + 0.7 * by_hand, rel=1e-4)


def test_4_a_student_s_rate_is_its_own(student: DistillStudent, data: build.Data, teacher: Teacher) -> None:
    """There, the student's scheduler held the teacher's optimizer and did nothing."""
    falling = changed(student, lr_schedule={"kind": "step", "every": 1, "gamma": 1e-30})
    steady = changed(student, lr_schedule=CONSTANT)
    for configs in ([falling], [falling, steady]):
        fit = build.build_fit(configs, data, build.build_bank(configs, data), teacher)
        kept: list[list[Tensor]] = []
        rates = []
        for event in fit.events():
            assert isinstance(event, EpochResult)
            kept.append([fit.bank.state(k)["output.weight"].clone() for k in range(len(configs))])
            rates.append([getattr(member, "lr", None) for member in event.members])
        moved = [not torch.equal(first, second) for first, second in zip(*kept, strict=True)]
        assert moved == [False, True][: len(configs)]
        assert rates[0] == [0.002] * len(configs)
        assert rates[1] == pytest.approx([0.002e-30, 0.002][: len(configs)])


class Sealed(TensorSource):
    """A test set that must not be opened."""

    def gather(self, indices: Tensor) -> Tensor:
        """Fail."""
        raise AssertionError("the test set was read")


def test_5_nothing_is_selected_by_the_test_set(student: DistillStudent, data: build.Data, teacher: Teacher) -> None:
    """There, the weights of the best epoch on the test set were kept and reported."""
    sealed = replace(data, test=Sealed(data.test.inputs, CPU), test_labels=torch.full((4000,), -1))
    fit, results = trained([changed(student, epochs=4)], sealed, teacher)
    assert fit.standings[0].best_epoch in range(4)
    assert not set(fit.validation.indices.tolist()) & set(data.train.tolist())
    assert all(result.members[0].val.n == 1600 for result in results)
    assert_proven_by("program/test_teacher.py", "test_the_test_set_is_read_once_after_the_selection")


def test_6_a_student_is_compared_with_itself_untaught(student: DistillStudent, tiny_student: RunDir) -> None:
    """There was no undistilled baseline, so nothing could be concluded."""
    assert student.baseline, "the default"
    summary = tiny_student.summary()
    compared = summary["baseline"]
    assert compared["test"]["n"] == summary["test"]["n"] == 10_000
    assert 0 <= compared["p_value"] <= 1
    baseline = json.loads((tiny_student.path / "baseline" / "summary.json").read_text())
    assert (baseline["loss"], baseline["steps"], baseline["seed"]) == ("hard", summary["steps"], summary["seed"])
    assert_proven_by("program/test_student.py", "test_student_and_baseline_are_compared_as_mcnemar_did")
    assert_proven_by("program/test_student.py", "test_the_baseline_is_the_same_network_trained_without_a_teacher")


@pytest.mark.parametrize("count", [1, 3])
def test_7_the_initial_weights_that_were_asked_for_are_those_that_train(
    student: DistillStudent, data: build.Data, count: int
) -> None:
    """There, the network was made anew after its initialisation."""
    config = changed(student, model={"hidden": [300, 300], "init_std": 0.01})
    configs = [changed(config, seed=seed) for seed in range(count)]
    fit = build.build_fit(
        [changed(each, loss={"kind": "hard"}) for each in configs], data, build.build_bank(configs, data), None
    )
    for seed, each in enumerate(configs):
        made = build.build_network(each.model, data.dataset, seed).state_dict()
        trains = fit.bank.state(seed)
        assert all(torch.equal(trains[name], made[name]) for name in made)
        assert trains["hidden.1.weight"].std().item() == pytest.approx(0.01, rel=0.02)
        assert not trains["hidden.1.bias"].any()
    first = next(iter(fit.stream.epoch(0)))
    loss = functional.cross_entropy(fit.bank.logits(first.inputs)[0], first.labels).item()
    assert loss == pytest.approx(math.log(26), abs=0.01)


def test_8_reported_numbers_are_those_of_the_networks(
    student: DistillStudent, data: build.Data, teacher: Teacher
) -> None:
    """There, the training accuracy was overwritten with every batch, so that it was the last one's."""
    still = changed(student, epochs=1, optimizer={"lr": 1e-30}, lr_schedule=CONSTANT)
    fit, [result] = trained([still], data, teacher)
    [found] = result.members
    net = build.build_network(student.model, data.dataset, 0).eval()

    def answers(indices: Tensor) -> Tensor:
        logits: Tensor = net(data.normalization(data.source.gather(indices)))
        return logits

    labels = data.labels[data.transfer]
    assert found.hard == pytest.approx(functional.cross_entropy(answers(data.transfer), labels).item(), rel=1e-4)
    assert len(fit.stream.batch_sizes) > 3
    right = (answers(data.val).argmax(1) == data.labels[data.val]).double().mean().item()
    assert found.val.top1 == pytest.approx(right)
    assert_proven_by("engine/test_fit.py", "test_training_is_what_a_plain_loop_does")
    assert_proven_by("program/test_student.py", "test_numbers_are_those_of_the_three_networks")


def test_9_a_run_s_figure_is_of_its_own_history(tiny_student: RunDir, tiny_teacher: RunDir, tmp_path: Path) -> None:
    """There, the last plots showed the teacher's history again."""
    run = RunDir.open(Path(shutil.copytree(tiny_student.path, tmp_path / tiny_student.path.name)))
    assert write_report(run) == run.path / "report.html"
    with (run.path / "figures" / "curves.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    own, alone, teacher = (
        read_metrics(path) for path in (run.metrics, run.path / "baseline" / "metrics.jsonl", tiny_teacher.metrics)
    )
    for key in ("train/loss", "val/top1"):
        assert [float(row[key]) for row in drawn] == [line[key] for line in own]
        assert [float(row[f"baseline {key}"]) for row in drawn] == [line[key] for line in alone]
        assert [line[key] for line in own] != [line[key] for line in teacher]
