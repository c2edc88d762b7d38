"""Cross-entropy with the labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.losses import cross_entropy

LABELS = torch.tensor([3, 0, 9, 3, 5])


def logits(*leading: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*leading, 5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("leading", [(), (1,), (3,)])
def test_it_equals_the_definition(leading: tuple[int, ...], label_smoothing: float) -> None:
    student = logits(*leading)
    values = cross_entropy(student, LABELS, label_smoothing)
    assert values.shape == leading
    for value, rows in zip(values.flatten().tolist(), student.reshape(-1, 5, 10).tolist(), strict=True):
        total = 0.0
        for row, label in zip(rows, LABELS.tolist(), strict=True):
            normaliser = math.log(sum(math.exp(score) for score in row))
            for c, score in enumerate(row):
                target = (1 - label_smoothing) * (c == label) + label_smoothing / 10
                total += target * (normaliser - score)
        assert value == pytest.approx(total / 5, rel=1e-10)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_value_and_gradient_are_those_of_torch(label_smoothing: float) -> None:
    student = logits(2, 3).requires_grad_()
    values = cross_entropy(student, LABELS, label_smoothing)
    torchs = torch.stack(
        [
            torch.nn.functional.cross_entropy(one, LABELS, label_smoothing=label_smoothing)
            for one in student.reshape(6, 5, 10)
        ]
    )
    torch.testing.assert_close(values.flatten(), torchs, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    (torchs_gradient,) = torch.autograd.grad(torchs.sum(), student)
    torch.testing.assert_close(gradient, torchs_gradient, rtol=1e-10, atol=1e-15)


def test_one_network_is_plain_training_to_the_last_bit() -> None:
    student = logits(1).float().requires_grad_()
    value, torchs = cross_entropy(student, LABELS), torch.nn.functional.cross_entropy(student[0], LABELS)
    assert value.item() == torchs.item()
    (gradient,) = torch.autograd.grad(value.sum(), student)
    (torchs_gradient,) = torch.autograd.grad(torchs, student)
    assert torch.equal(gradient, torchs_gradient)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("leading", [(), (1,), (2,)])
def test_the_gradient_is_that_of_the_value(leading: tuple[int, ...], label_smoothing: float) -> None:
    student = logits(*leading).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, LABELS, label_smoothing), (student,))


@pytest.mark.parametrize("batch_size", [5, 80])
@pytest.mark.parametrize("smoothings", [[0.0, 0.0], [0.0, 0.3]])
def test_every_network_can_have_labels_and_a_smoothing_of_its_own(batch_size: int, smoothings: list[float]) -> None:
    student = logits(2).repeat(1, batch_size // 5, 1).requires_grad_()
    labels = torch.stack([LABELS, 9 - LABELS]).repeat(1, batch_size // 5)
    together = cross_entropy(student, labels, torch.tensor(smoothings, dtype=torch.float64))
    alone = torch.stack([cross_entropy(student[k], labels[k], smoothings[k]) for k in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(together.sum(), student)
    (gradient_alone,) = torch.autograd.grad(alone.sum(), student)
    torch.testing.assert_close(gradient, gradient_alone, rtol=1e-10, atol=1e-15)


def test_certain_and_correct_costs_nothing() -> None:
    student = 1000 * torch.nn.functional.one_hot(LABELS, 10).expand(2, -1, -1)
    assert cross_entropy(student, LABELS).tolist() == [0.0, 0.0]


def test_a_constant_added_to_an_example_changes_nothing() -> None:
    student, shift = logits(2), torch.arange(5.0)[:, None]
    torch.testing.assert_close(cross_entropy(student + shift, LABELS), cross_entropy(student, LABELS))


def test_the_order_of_the_classes_does_not_matter() -> None:
    student = logits(2)
    reversed_classes = cross_entropy(student.flip(-1), 9 - LABELS)
    torch.testing.assert_close(reversed_classes, cross_entropy(student, LABELS))


def test_a_doubled_batch_has_the_same_mean() -> None:
    student = logits(2)
    doubled = cross_entropy(student.repeat(1, 2, 1), LABELS.repeat(2))
    torch.testing.assert_close(doubled, cross_entropy(student, LABELS))


@pytest.mark.parametrize("leading", [(), (2,)])
def test_half_precision_is_computed_in_float32(leading: tuple[int, ...]) -> None:
    student = (1e4 * logits(*leading)).clamp(-6e4, 6e4).half()
    values = cross_entropy(student, LABELS)
    assert values.dtype is torch.float32
    assert values.isfinite().all()
    torch.testing.assert_close(values, cross_entropy(student.float(), LABELS))


def test_a_network_that_is_not_finite_does_not_touch_the_others() -> None:
    student = logits(3)
    clean = cross_entropy(student, LABELS)
    student[1, 2, 0] = torch.inf
    values = cross_entropy(student, LABELS)
    assert values.isfinite().tolist() == [True, False, True]
    assert torch.equal(values[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("label", [-100, -1, 10])
@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("batch_size", [5, 120])
def test_a_label_that_names_no_class_is_never_left_out_in_silence(
    batch_size: int, leading: tuple[int, ...], label: int
) -> None:
    labels = LABELS.repeat(batch_size // 5)
    labels[2] = label
    with pytest.raises((IndexError, RuntimeError), match=r"out of (\w+ )?(bounds|range)"):
        cross_entropy(torch.zeros(*leading, batch_size, 10), labels)


@pytest.mark.parametrize(
    ("student_shape", "labels_shape"),
    [((8, 10), (7,)), ((8, 10), (8, 1)), ((8, 10), (8, 10)), ((10,), (10,)), ((0, 10), (0,)), ((2, 8, 10), (3, 8))],
)
def test_shapes_that_do_not_fit_are_refused(student_shape: tuple[int, ...], labels_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., B, C\).* labels \(B,\) or \(\.\.\., B\)") as refused:
        cross_entropy(torch.zeros(student_shape), torch.zeros(labels_shape, dtype=torch.int64))
    assert str(refused.value).endswith(f"got {student_shape} and {labels_shape}")


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, float("nan")])
def test_smoothing_outside_its_range_is_refused(label_smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"label_smoothing must be in \[0, 1\], got {label_smoothing}"):
        cross_entropy(logits(), LABELS, label_smoothing)
