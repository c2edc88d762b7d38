"""Whole trainings from configurations: the ends of alpha, the baseline beside its student, the teacher's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcli import build
from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.data.types import Dataset, Split
from kdcli.data.views import Shift
from kdcli.engine.results import EpochResult
from kdcli.errors import DivergedError
from kdcli.schema import DistillStudent, TrainTeacher, parse_config
from kdcli.teachers import LiveTargets, TargetTable, Teacher

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


def changed(config: Any, **sections: Any) -> Any:
    """The configuration with other values; what is given for a section changes only those of its keys."""
    data = config.model_dump()
    for key, value in sections.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and "kind" not in value else value
    return parse_config("distill-student", data)


def loaded_for(config: Any) -> build.Data:
    return build.load_data(config.dataset, config.transfer, CPU, smoke=False, batch_size=config.batch_size)


def teacher_for(data: build.Data, config: Any) -> Teacher:
    nets = [build.build_network(config.model, data.dataset, seed) for seed in (70, 71)]
    return Teacher(nets, [data.normalization] * 2, "arithmetic")


def trained(configs: list[Any], teacher: Teacher | None, data: build.Data) -> tuple[list[Any], list[EpochResult]]:
    """The networks of a cohort after their training, and its course."""
    bank = build.build_bank(configs, data)
    fit = build.build_fit(configs, data, bank, teacher)
    results = [event for event in fit.events() if isinstance(event, EpochResult)]
    return [{name: t.clone() for name, t in bank.state(k).items()} for k in range(len(configs))], results


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_alpha_zero_is_loss_hard_to_the_bit(student: DistillStudent) -> None:
    data = loaded_for(student)
    teacher = teacher_for(data, student)
    zero = changed(student, alpha={"kind": "constant", "value": 0.0})
    hard = changed(student, loss={"kind": "hard"})
    plain = TrainTeacher.model_validate(
        {**hard.model_dump(exclude={"teacher", "ensemble", "baseline", "targets", "trust_code"})}
        | {"members": 1, "members_data": "all"}
    )
    [expected], _ = trained([hard], teacher, data)
    for config in (zero, plain):
        [found], _ = trained([config], teacher, data)
        assert differing(found, expected) == []
    [distilled], _ = trained([student], teacher, data)
    assert differing(distilled, expected) != []


def test_alpha_one_is_the_same_with_any_labels(student: DistillStudent) -> None:
    """``transfer.labels=false`` too: the labels it hides were not used."""
    data = loaded_for(student)
    teacher = teacher_for(data, student)
    one = changed(student, alpha={"kind": "constant", "value": 1.0}, transfer={"labels": False})
    [expected], _ = trained([one], teacher, data)
    shuffled = dataclasses.replace(data, labels=data.labels.roll(1))
    [found], _ = trained([one], teacher, shuffled)
    assert differing(found, expected) == []
    [control], _ = trained([student], teacher, shuffled)
    assert differing(control, trained([student], teacher, data)[0][0]) != []


def test_a_student_and_its_baseline_are_what_they_would_be_alone(student: DistillStudent) -> None:
    data = loaded_for(student)
    # Not with Adam, which would turn the rounding noise of the biases before a batch norm into whole steps.
    sgd = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
    config = changed(student, model={"dropout": 0.3, "batch_norm": True}, optimizer=sgd)
    baseline = changed(config, loss={"kind": "hard"})
    teacher = teacher_for(data, student)
    together, course = trained([config, baseline], teacher, data)
    for k, alone in enumerate((config, baseline)):
        [single], single_course = trained([alone], teacher, data)
        torch.testing.assert_close(together[k], single, rtol=1e-3, atol=2e-5)
        for result, expected in zip(course, single_course, strict=True):
            found, wanted = (dataclasses.asdict(each) for each in (result.members[k], expected.members[0]))
            assert found["val"] == pytest.approx(wanted["val"], rel=1e-3, abs=1e-4)
            assert found["total"] == pytest.approx(wanted["total"], rel=1e-3)


def test_a_teacher_of_nan_is_refused_before_the_first_step(student: DistillStudent) -> None:
    data = loaded_for(student)
    teacher = teacher_for(data, student)
    with torch.no_grad():
        list(teacher.networks[0].parameters())[-1].fill_(float("nan"))
    with pytest.raises(DivergedError, match="not finite"):
        build.build_fit([student], data, build.build_bank([student], data), teacher)


def test_without_validation_nothing_is_measured(student: DistillStudent) -> None:
    whole = {**student.dataset.model_dump(), "val_fraction": 0.0}
    config = changed(student, loss={"kind": "hard"}, dataset=whole, select="last")
    _, results = trained([config], None, loaded_for(config))
    assert [getattr(result.members[0], "val", "stopped") for result in results] == [None, None]


def test_a_training_follows_its_configuration(student: DistillStudent) -> None:
    config = changed(
        student, loss={"kind": "hard"}, epochs=7, batch_size=20, early_stopping=3, precision="bf16", seed=4, data_seed=5
    )
    data = loaded_for(config)
    fit = build.build_fit([config], data, build.build_bank([config], data), None)
    assert (fit.plan.epochs, fit.plan.early_stopping, fit.plan.bf16) == (7, 3, True)
    assert (fit.stream.batch_size, fit.stream.data_seed) == (20, 5)
    assert fit.plan.members[0].lr == config.optimizer.lr
    assert not build.build_fit([changed(config, precision="float32")], data, fit.bank, None).plan.bf16


def test_an_epoch_can_be_as_long_as_another_s(student: DistillStudent) -> None:
    config = changed(student, loss={"kind": "hard"})
    data = loaded_for(config)
    fit = build.build_fit([config], data, build.build_bank([config], data), None, epoch_examples=40)
    assert fit.stream.batch_sizes == [32, 8]


def image_data() -> build.Data:
    images = torch.randint(256, (40, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = Split(images, torch.arange(40) % 3)
    return build.Data(
        dataset=Dataset.of("toy", "image", ("a", "b", "c"), split, split),
        source=TensorSource(images, CPU),
        labels=split.labels,
        test=TensorSource(images, CPU),
        test_labels=split.labels,
        train=torch.arange(30),
        transfer=torch.arange(5, 30),
        val=torch.arange(30, 40),
        view=Shift(1),
        normalization=Normalization((0.5,), (0.3,)),
        fingerprint="toy",
    )


@pytest.mark.parametrize(("epochs", "kind"), [(9, TargetTable), (8, LiveTargets)])
def test_a_teacher_is_asked_first_where_the_training_sees_every_view(
    student: DistillStudent, tmp_path: Path, epochs: int, kind: type
) -> None:
    """Nine views: with eight epochs, asking about all of them would cost more than it saves."""
    config = changed(student, epochs=epochs, output_dir=str(tmp_path))
    data = image_data()
    teacher = teacher_for(data, config)
    found = build.build_targets(teacher, data, config, lambda line: None)
    assert isinstance(found, kind)
    positions, views = torch.tensor([0, 24, 7]), torch.tensor([0, 8, 3])
    raw = data.view.apply(data.source.gather(data.transfer[positions]), views)
    torch.testing.assert_close(found.logits(positions, views, raw), teacher.logits(raw), rtol=1e-5, atol=1e-6)
    assert (tmp_path / "targets").exists() == (kind is TargetTable)


def test_answers_that_are_kept_serve_shorter_trainings_too(student: DistillStudent, tmp_path: Path) -> None:
    data = image_data()
    teacher = teacher_for(data, student)
    for epochs in (9, 1):
        config = changed(student, epochs=epochs, targets={"store": str(tmp_path / "kept")})
        assert isinstance(build.build_targets(teacher, data, config, lambda line: None), TargetTable)
    assert (tmp_path / "kept").exists()


def test_permuted_targets_keep_what_the_teacher_chooses(student: DistillStudent) -> None:
    data = loaded_for(student)
    teacher = teacher_for(data, student)
    plain, permuted = (
        build.build_targets(teacher, data, changed(student, loss={"kind": kind}), lambda line: None)
        for kind in ("kd", "dkpp")
    )
    positions = torch.arange(len(data.transfer))
    asked = positions, torch.zeros_like(positions), torch.empty(0)
    said, found = plain.logits(*asked), permuted.logits(*asked)
    choice = said.softmax(-1).mean(0).argmax(-1)
    assert torch.equal(found.softmax(-1).mean(0).argmax(-1), choice)
    assert torch.equal(found.sort(dim=-1).values, said.sort(dim=-1).values)
    assert (found != said).float().mean() > 0.8


@pytest.mark.parametrize("loss", ["cwtm", "dkpp"])
def test_the_controls_train_a_student_and_not_its_baseline(student: DistillStudent, loss: str) -> None:
    data = loaded_for(student)
    teacher, one = teacher_for(data, student), {"kind": "constant", "value": 1.0}
    control, hard = changed(student, loss={"kind": loss}, alpha=one), changed(student, loss={"kind": "hard"})
    together, course = trained([control, hard], teacher, data)
    alone, _ = trained([hard], None, data)
    for name, tensor in alone[0].items():
        torch.testing.assert_close(together[1][name], tensor, rtol=1e-4, atol=1e-5)
    assert course[-1].members[0].soft < course[0].members[0].soft
    assert course[-1].members[0].hard is None
