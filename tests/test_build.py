"""From a configuration to what it names: data, networks, schedules, rules, objectives, and whole trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from kdcli import build, build_method
from kdcli.engine.update import AdamWRule, MomentumRampRule, SgdRule
from kdcli.errors import DataError, MachineError, UsageError
from kdcli.models.mlp import Mlp
from kdcli.objective import Span
from kdcli.schedules import (
    Constant,
    ConstantRate,
    Cosine,
    CosineDecay,
    Exponential,
    ExponentialDecay,
    Linear,
    LinearDecay,
    OneCycle,
    Plateau,
    Step,
    StepDecay,
)
from kdcli.schema import DistillStudent, TrainTeacher, method, optimization, parse_config

CPU = torch.device("cpu")
SMALL = ["dataset=letter", "model=mlp", "model.hidden=[12]", "transfer.fraction=0.01", "epochs=2", "batch_size=32"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def student(configure: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> DistillStudent:
    outputs = tmp_path_factory.mktemp("build")
    config = configure("distill-student", "teacher=latest", "device=cpu", f"output_dir={outputs}", *SMALL)
    assert isinstance(config, DistillStudent)
    return config


@pytest.fixture(scope="module")
def teacher_config(configure: Callable[..., Any]) -> TrainTeacher:
    config = configure("train-teacher", "device=cpu", *SMALL)
    assert isinstance(config, TrainTeacher)
    return config


def changed(config: Any, **sections: Any) -> Any:
    """The configuration with other values; what is given for a section changes only those of its keys."""
    data = config.model_dump()
    for key, value in sections.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and "kind" not in value else value
    return parse_config("distill-student" if isinstance(config, DistillStudent) else "train-teacher", data)


def loaded_for(config: Any, *, smoke: bool = False) -> build.Data:
    return build.load_data(config.dataset, config.transfer, CPU, smoke=smoke, batch_size=config.batch_size)


def test_auto_is_a_device_that_is_there() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert build.pick_device("auto") == torch.device(best)
    assert build.pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:63", "mps" if not torch.backends.mps.is_available() else "cuda:64"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(MachineError, match=f"device={name}") as caught:
        build.pick_device(name)
    assert caught.value.where == "device"


def test_the_parts_of_the_data_do_not_overlap(student: DistillStudent) -> None:
    data = loaded_for(changed(student, transfer={"fraction": 1.0}))
    train, val = set(data.train.tolist()), set(data.val.tolist())
    assert not train & val
    assert train | val == set(range(16_000))
    assert len(val) == 1600
    assert data.transfer.tolist() == data.train.tolist()
    assert len(data.test) == len(data.test_labels) == 4000
    assert data.num_classes == 26
    assert torch.equal(data.source.gather(data.val), data.dataset.train.inputs[data.val])


def test_normalisation_is_of_the_training_part_alone(student: DistillStudent) -> None:
    data = loaded_for(student)
    rows = data.dataset.train.inputs.double()
    of_train = rows[data.train]
    assert data.normalization.mean == pytest.approx(of_train.mean(0).tolist())
    assert data.normalization.std == pytest.approx(of_train.std(0, correction=0).tolist())
    assert data.normalization.mean != pytest.approx(rows.mean(0).tolist(), rel=1e-6)


def test_the_validation_part_depends_on_its_own_seed_alone(
    student: DistillStudent, teacher_config: TrainTeacher
) -> None:
    reference = loaded_for(student).val.tolist()
    assert loaded_for(teacher_config).val.tolist() == reference
    assert loaded_for(changed(student, seed=5, data_seed=6)).val.tolist() == reference
    assert loaded_for(changed(student, transfer={"fraction": 0.5, "seed": 3})).val.tolist() == reference
    assert loaded_for(changed(student, dataset={"val_seed": 1})).val.tolist() != reference


def test_the_transfer_set_is_selected_from_the_training_part(student: DistillStudent) -> None:
    data = loaded_for(changed(student, transfer={"fraction": 0.1, "omit": [0, 25]}))
    labels = data.labels[data.transfer]
    assert set(data.transfer.tolist()) < set(data.train.tolist())
    assert sorted(set(labels.tolist())) == list(range(1, 25))
    only = loaded_for(changed(student, transfer={"only": [3, 7], "fraction": 1.0}))
    assert set(only.labels[only.transfer].tolist()) == {3, 7}
    assert len(only.val) == 1600


def test_a_published_validation_part_is_used_unless_none_is_wanted(student: DistillStudent) -> None:
    data = loaded_for(changed(student, dataset={**student.dataset.model_dump(), "kind": "letter_p1"}))
    assert data.val.tolist() == list(range(4000, 5000))
    assert data.train.tolist() == list(range(4000))
    without = {**student.dataset.model_dump(), "kind": "letter_p1", "val_fraction": 0.0}
    none = changed(student, dataset=without, select="last")
    assert len(loaded_for(none).val) == 0
    assert loaded_for(none).train.tolist() == list(range(5000))


def test_a_smoke_run_sees_two_batches_of_everything(student: DistillStudent) -> None:
    data = loaded_for(student, smoke=True)
    assert (len(data.transfer), len(data.val), len(data.test), len(data.test_labels)) == (64, 512, 512, 512)
    assert set(data.transfer.tolist()) < set(loaded_for(student).transfer.tolist())


SCHEDULES: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "constant", "value": 0.5}, Constant(0.5)),
    ({"kind": "linear", "start": 1.0, "end": 0.2}, Linear(1.0, 0.2)),
    ({"kind": "cosine", "start": 1.0, "end": 0.2}, Cosine(1.0, 0.2)),
    ({"kind": "step", "start": 1.0, "end": 0.2, "at": 0.7}, Step(1.0, 0.2, 0.7)),
]
RATES: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "constant"}, ConstantRate()),
    ({"kind": "exponential", "gamma": 0.9}, ExponentialDecay(0.9)),
    ({"kind": "step", "every": 3, "gamma": 0.2}, StepDecay(3, 0.2)),
    ({"kind": "linear", "warmup": 0.1, "end": 0.01}, LinearDecay(0.1, 0.01)),
    ({"kind": "cosine", "warmup": 0.1, "end": 0.01}, CosineDecay(0.1, 0.01)),
    ({"kind": "one_cycle", "warmup": 0.2, "start": 0.1, "end": 0.01}, OneCycle(0.2, 0.1, 0.01)),
    (
        {"kind": "plateau", "factor": 0.3, "patience": 4, "threshold": 0.01, "min_factor": 0.1},
        Plateau(0.3, 4, 0.01, 0.1),
    ),
]
RULES: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "sgd", "lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, SgdRule(0.8, True, 0.01)),
    ({"kind": "momentum_ramp", "lr": 0.1, "start": 0.4, "end": 0.8, "ramp_epochs": 7}, MomentumRampRule(0.4, 0.8, 7)),
    (
        {"kind": "adamw", "lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-5, "weight_decay": 0.1},
        AdamWRule(0.8, 0.9, 1e-5, 0.1),
    ),
]


@pytest.mark.parametrize(("data", "expected"), SCHEDULES, ids=str)
@pytest.mark.parametrize("group", [method.TemperatureSchedule, method.AlphaSchedule], ids=["temperature", "alpha"])
def test_every_schedule_is_built(group: Any, data: dict[str, Any], expected: Any) -> None:
    assert build_method.build_schedule(TypeAdapter(group).validate_python(data)) == expected


def test_a_temperature_may_change_by_a_constant_ratio() -> None:
    section: Any = TypeAdapter(method.TemperatureSchedule).validate_python(
        {"kind": "exponential", "start": 8.0, "end": 1.0}
    )
    assert build_method.build_schedule(section) == Exponential(8.0, 1.0)


@pytest.mark.parametrize(("data", "expected"), RATES, ids=str)
def test_every_rate_is_built(data: dict[str, Any], expected: Any) -> None:
    section: Any = TypeAdapter(optimization.LrSchedule).validate_python(data)
    assert build_method.build_rate(section) == expected


@pytest.mark.parametrize(("data", "expected"), RULES, ids=str)
def test_every_rule_is_built(data: dict[str, Any], expected: Any) -> None:
    section: Any = TypeAdapter(optimization.Optimizer).validate_python(data)
    assert build_method.build_rule(section) == expected


def test_networks_are_those_of_the_configuration(student: DistillStudent) -> None:
    data = loaded_for(student)
    config = changed(student, model={"dropout": 0.25, "max_norm_squared": 4.0, "batch_norm": True})
    net = build.build_network(config.model, data.dataset, 3)
    assert isinstance(net, Mlp)
    assert net.architecture == (16, (12,), 26, 0.25, 0.0, True, 4.0)
    again, other = (build.build_network(config.model, data.dataset, seed) for seed in (3, 4))
    assert torch.equal(net.output.weight, again.state_dict()["output.weight"])
    assert not torch.equal(net.output.weight, other.state_dict()["output.weight"])


def spans(student: DistillStudent, *alphas: dict[str, Any]) -> list[Span]:
    configs = [changed(student, alpha=alpha) for alpha in alphas]
    return list(build_method.build_objective(configs, [build_method.member_plan(config) for config in configs]).spans)


def test_spans_hold_every_value_of_alpha(student: DistillStudent) -> None:
    """Above all those of a late switch, whose first half says nothing of its second."""
    ends = {"start": 0.2, "end": 0.9}
    alphas: list[dict[str, Any]] = [{"kind": "constant", "value": 0.4}]
    alphas += [{"kind": kind, **ends} for kind in ("linear", "cosine")]
    alphas += [{"kind": "step", "at": at, **ends} for at in (0.01, 0.5, 0.7, 0.99)]
    alphas += [{"kind": "step", "at": 0.7, "start": 1.0, "end": 0.0}]
    found = spans(student, *alphas)
    assert found[0] == Span(0.4, 0.4)
    assert found[1:-1] == [Span(0.2, 0.9)] * 6
    assert found[-1] == Span(0.0, 1.0)
    for alpha, span in zip(alphas, found, strict=True):
        schedule = build_method.build_schedule(changed(student, alpha=alpha).alpha)
        values = [schedule.value(step, 40) for step in range(40)]
        assert span.low <= min(values)
        assert max(values) <= span.high


def test_a_cohort_s_objective_is_that_of_its_distilled_members(student: DistillStudent) -> None:
    hard = changed(student, loss={"kind": "hard", "label_smoothing": 0.1})
    soft = changed(student, loss={"kind": "mse_logits", "label_smoothing": 0.2}, ensemble="geometric")
    objective = build_method.build_objective(
        [hard, soft], [build_method.member_plan(config) for config in (hard, soft)]
    )
    assert (objective.soft_loss, objective.ensemble) == ("mse_logits", "geometric")
    assert objective.label_smoothing == (0.1, 0.2)
    assert list(objective.spans) == [Span(0.0, 0.0), Span(0.9, 0.9)]
    assert not build_method.member_plan(hard).has_soft_term
    alone = build_method.build_objective([hard], [build_method.member_plan(hard)])
    assert (alone.soft_loss, alone.uses_teacher) == (None, False)


def test_a_teacher_s_training_ignores_temperature_and_alpha(teacher_config: TrainTeacher) -> None:
    plan = build_method.member_plan(changed(teacher_config, alpha={"kind": "linear", "start": 1.0, "end": 0.0}))
    assert (plan.temperature, plan.alpha) == (Constant(1.0), Constant(0.0))


def test_members_see_what_members_data_says(teacher_config: TrainTeacher) -> None:
    data = loaded_for(teacher_config)

    def seen(how: str, members: int, **more: Any) -> list[Tensor]:
        return build.member_indices(data, changed(teacher_config, members_data=how, members=members, **more), members)

    transfer = set(data.transfer.tolist())
    assert [part.tolist() for part in seen("all", 3)] == [data.transfer.tolist()]
    assert [part.tolist() for part in seen("parts", 1)] == [data.transfer.tolist()]
    parts = seen("parts", 3)
    assert [len(part) for part in parts] == [len(data.transfer) // 3] * 3
    assert len({int(i) for part in parts for i in part}) == 3 * len(parts[0])
    assert {int(i) for part in parts for i in part} <= transfer
    draws = seen("bootstrap", 3)
    assert [len(draw) for draw in draws] == [len(data.transfer)] * 3
    for draw in draws:
        assert set(draw.tolist()) < transfer
        # A draw with replacement holds 1 - 1/e of the examples.
        assert len(set(draw.tolist())) / len(draw) == pytest.approx(0.632, abs=0.12)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(seen("bootstrap", 3)[2], draws[2])
    assert not torch.equal(seen("bootstrap", 3, data_seed=1)[0], draws[0])


def test_too_many_members_for_parts_are_refused(teacher_config: TrainTeacher) -> None:
    config = changed(teacher_config, members_data="parts", members=1000)
    with pytest.raises(UsageError, match="144 examples cannot be parted among 1000") as caught:
        build.member_indices(loaded_for(config), config, 1000)
    assert caught.value.where == "members_data"


def test_networks_of_one_seed_begin_alike(student: DistillStudent) -> None:
    """The student and its baseline: the same weights, and the same dropout."""
    data = loaded_for(student)
    bank = build.build_bank([changed(student, seed=seed) for seed in (3, 3, 4)], data)
    first, second, third = (bank.state(k)["hidden.0.weight"] for k in range(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    noise = [generator.get_state() for generator in bank.generators]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    alone = build.build_bank([changed(student, seed=4)], data)
    assert torch.equal(alone.state(0)["hidden.0.weight"], third)
    assert torch.equal(alone.generators[0].get_state(), noise[2])


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"transfer": {"fraction": 0.0001}}])
def test_batch_norm_on_one_example_is_refused(student: DistillStudent, how: dict[str, Any]) -> None:
    config = changed(student, model={"batch_norm": True}, **how)
    with pytest.raises(DataError, match="one example at a time"):
        build.build_bank([config], loaded_for(config))
    plain = changed(config, model={"batch_norm": False})
    assert build.build_bank([plain], loaded_for(plain)).size == 1
