"""What holds for every soft loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.losses import SOFT_LOSSES, SoftLoss

pytestmark = pytest.mark.parametrize("loss", SOFT_LOSSES.values(), ids=SOFT_LOSSES.keys())


def logits(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3)])
def test_there_is_one_value_for_each_network(loss: SoftLoss, leading: tuple[int, ...]) -> None:
    student, teacher = logits(*leading, 5, 4), logits(5, 4, seed=1)
    values = loss(student, teacher, 2.5)
    assert values.shape == leading
    alone = [loss(one, teacher, 2.5).item() for one in student.reshape(-1, 5, 4)]
    assert values.flatten().tolist() == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("teacher_shape", [(3, 5, 4), (1, 5, 4), (2, 3, 5, 4), (2, 1, 5, 4)])
def test_each_network_can_have_its_own_teacher(loss: SoftLoss, teacher_shape: tuple[int, ...]) -> None:
    student, teacher = logits(2, 3, 5, 4), logits(*teacher_shape, seed=1)
    values = loss(student, teacher, 2.5)
    for i, j in ((0, 0), (0, 2), (1, 1)):
        own = teacher.expand(2, 3, 5, 4)[i, j]
        assert values[i, j].item() == pytest.approx(loss(student[i, j], own, 2.5).item(), rel=1e-12)


def test_a_tensor_of_temperatures_gives_each_network_its_own(loss: SoftLoss) -> None:
    student, teacher = logits(3, 5, 4).requires_grad_(), logits(5, 4, seed=1)
    temperatures = [1.0, 3.3, 20.0]
    together = loss(student, teacher, torch.tensor(temperatures, dtype=torch.float64))
    alone = torch.stack([loss(student[k], teacher, temperature) for k, temperature in enumerate(temperatures)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    (together_gradient,) = torch.autograd.grad(together.sum(), student)
    (alone_gradient,) = torch.autograd.grad(alone.sum(), student)
    torch.testing.assert_close(together_gradient, alone_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, torch.tensor([1.5, 8.0], dtype=torch.float64)])
def test_the_gradient_is_that_of_the_value(loss: SoftLoss, temperature: float | Tensor) -> None:
    student, teacher = logits(2, 3, 4).requires_grad_(), logits(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher, temperature), (student,))


def test_a_weighted_loss_has_a_weighted_gradient(loss: SoftLoss) -> None:
    student, teacher = logits(3, 5, 4).requires_grad_(), logits(5, 4, seed=1)
    weights = torch.tensor([0.0, 1.0, -2.5], dtype=torch.float64)
    (plain,) = torch.autograd.grad(loss(student, teacher, 4.0).sum(), student)
    (weighted,) = torch.autograd.grad(loss(student, teacher, 4.0), student, weights)
    torch.testing.assert_close(weighted, plain * weights[:, None, None])


def test_no_gradient_reaches_the_teacher(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4).requires_grad_(), logits(5, 4, seed=1).requires_grad_()
    loss(student, teacher, 4.0).backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert not loss(student.detach(), teacher, 4.0).requires_grad


def test_a_teacher_that_ran_in_inference_mode_will_do(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4).requires_grad_(), logits(5, 4, seed=1)
    with torch.inference_mode():
        frozen = teacher.clone()
    (expected,) = torch.autograd.grad(loss(student, teacher, 4.0), student)
    (got,) = torch.autograd.grad(loss(student, frozen, 4.0), student)
    assert torch.equal(got, expected)


def test_inputs_are_left_as_they_were(loss: SoftLoss) -> None:
    student, teacher = logits(3, 5, 4), logits(5, 4, seed=1)
    before = student.clone(), teacher.clone()
    loss(student.requires_grad_(), teacher, 1.0).sum().backward()
    assert torch.equal(student.detach(), before[0])
    assert torch.equal(teacher, before[1])


def test_a_constant_added_to_an_example_changes_nothing(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4), logits(5, 4, seed=1)
    expected = loss(student, teacher, 4.0).item()
    assert loss(student + logits(5, 1, seed=2), teacher, 4.0).item() == pytest.approx(expected, rel=1e-10)
    assert loss(student, teacher + logits(5, 1, seed=2), 4.0).item() == pytest.approx(expected, rel=1e-10)


def test_the_order_of_the_classes_does_not_matter(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4), logits(5, 4, seed=1)
    order = [2, 0, 3, 1]
    permuted = loss(student[:, order], teacher[:, order], 4.0).item()
    assert permuted == pytest.approx(loss(student, teacher, 4.0).item(), rel=1e-12)


def test_it_is_a_mean_over_the_batch(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4), logits(5, 4, seed=1)
    each = [loss(student[b : b + 1], teacher[b : b + 1], 4.0).item() for b in range(5)]
    assert loss(student, teacher, 4.0).item() == pytest.approx(sum(each) / 5, rel=1e-12)
    doubled = loss(student.repeat(2, 1), teacher.repeat(2, 1), 4.0).item()
    assert doubled == pytest.approx(sum(each) / 5, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 10_000.0])
def test_half_precision_is_computed_in_float32(loss: SoftLoss, dtype: torch.dtype, temperature: float) -> None:
    student = logits(2, 5, 4, scale=200.0).to(dtype).requires_grad_()
    teacher = logits(5, 4, seed=1, scale=200.0).to(dtype)
    values = loss(student, teacher, temperature)
    assert values.dtype is torch.float32
    assert values.isfinite().all()
    assert values.tolist() == pytest.approx(loss(student.float(), teacher.float(), temperature).tolist())
    values.sum().backward()
    assert student.grad is not None
    assert student.grad.dtype is dtype


def test_the_student_decides_the_precision(loss: SoftLoss) -> None:
    student, teacher = logits(2, 5, 4), logits(5, 4, seed=1)
    temperatures = torch.tensor([2.0, 4.0], dtype=torch.float64)
    assert loss(student.float(), teacher, temperatures).dtype is torch.float32
    assert loss(student, teacher.float(), temperatures.float()).dtype is torch.float64


def test_float32_is_close_to_float64(loss: SoftLoss) -> None:
    student, teacher = logits(64, 10), logits(64, 10, seed=1)
    exact = loss(student, teacher, 4.0).item()
    assert loss(student.float(), teacher.float(), 4.0).item() == pytest.approx(exact, rel=2e-6)


def test_a_network_that_is_not_finite_does_not_touch_the_others(loss: SoftLoss) -> None:
    student, teacher = logits(3, 5, 4), logits(5, 4, seed=1)
    clean = loss(student, teacher, 4.0)
    student[1, 2, 0] = torch.nan
    student.requires_grad_()
    values = loss(student, teacher, 4.0)
    values.sum().backward()
    assert student.grad is not None
    assert values.isnan().tolist() == [False, True, False]
    assert torch.equal(values[[0, 2]], clean[[0, 2]])
    assert student.grad[[0, 2]].isfinite().all()


def test_a_second_derivative_is_refused_instead_of_being_wrong(loss: SoftLoss) -> None:
    student, teacher = logits(5, 4).requires_grad_(), logits(5, 4, seed=1)
    with pytest.raises(RuntimeError, match="differentiated once only"):
        torch.autograd.grad(loss(student, teacher, 4.0), student, create_graph=True)


@pytest.mark.parametrize(
    ("student_shape", "teacher_shape"),
    [
        ((8, 10), (8, 1)),
        ((8, 10), (1, 10)),
        ((8, 10), (8, 11)),
        ((8, 10), (4, 10)),
        ((8, 10), (10,)),
        ((8, 10), (3, 8, 10)),
        ((3, 8, 10), (2, 8, 10)),
        ((1, 8, 10), (3, 8, 10)),
        ((10,), (10,)),
        ((0, 10), (0, 10)),
        ((8, 0), (8, 0)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    loss: SoftLoss, student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="same B and C") as refused:
        loss(torch.zeros(student_shape), torch.zeros(teacher_shape), 4.0)
    assert str(refused.value).endswith(f"got {student_shape} and {teacher_shape}")


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, float("nan"), float("inf")])
def test_a_number_that_is_no_temperature_is_refused(loss: SoftLoss, temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature must be > 0 and finite, got {temperature}"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature)


@pytest.mark.parametrize("shape", [(), (1,), (2, 1), (3,)])
def test_temperatures_that_are_not_one_for_each_network_are_refused(loss: SoftLoss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"leading dimensions .*\(2,\), got"):
        loss(torch.zeros(2, 4, 3), torch.zeros(4, 3), torch.ones(shape))
