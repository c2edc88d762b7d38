"""What the losses ask of their inputs: shapes, the range of the temperature, and the precision.

A logits tensor of shape ``(..., B, C)`` holds the scores of one batch of ``B`` examples and ``C`` classes for each of
the networks that its leading dimensions count. The value of a tensor is never read here: that would wait for the
device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from kdcli.losses.softmax import Temperature, arranged, class_dim


class Inputs(NamedTuple):
    """What a soft loss computes with.

    Attributes:
        student: Scores in the precision of the loss, detached, with the classes at ``dim``.
        teacher: The same.
        temperature: A number, or a tensor in that precision.
        dim: -1 or -2, see :func:`kdcli.losses.softmax.class_dim`.
        labels: Of the examples, ``(B,)`` or ``(..., B)``, for the terms that look at them.
    """

    student: Tensor
    teacher: Tensor
    temperature: Temperature
    dim: int
    labels: Tensor | None = None

    @property
    def batch_size(self) -> int:
        """Number of examples."""
        return self.student.shape[-1 if self.dim == -2 else -2]


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Float64 for float64 logits, else float32: half precision overflows once the logits are exponentiated."""
    return torch.float64 if logits.dtype is torch.float64 else torch.float32


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``tensor.to(dtype)``, without the microsecond that it takes to find that there is nothing to do."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def check_temperature(temperature: Temperature, leading: torch.Size | None = None) -> None:
    """Refuse a number that is not a temperature, or a tensor that is not of shape ``leading`` (None: any shape).

    Raises:
        ValueError: If a number is not positive and finite, or the shape of a tensor differs from ``leading``.
    """
    if isinstance(temperature, Tensor):
        if leading is not None and temperature.shape != leading:
            raise ValueError(
                "a temperature tensor must have the shape of the leading dimensions of student_logits, "
                f"{_text(leading)}, got {_text(temperature.shape)}"
            )
    elif not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be > 0 and finite, got {temperature}")


def check_labels(student_logits: Tensor, labels: Tensor) -> None:
    """Refuse labels that do not name one class for each example.

    Raises:
        ValueError: If ``student_logits`` is not ``(..., B, C)``, is empty, or ``labels`` is neither ``(B,)`` nor
            ``(..., B)``.
    """
    shape = student_logits.shape
    if len(shape) < 2 or 0 in shape or labels.shape not in (shape[-2:-1], shape[:-1]):
        raise ValueError(
            "student_logits must have shape (..., B, C), none of them 0, and labels (B,) or (..., B), "
            f"got {_text(shape)} and {_text(labels.shape)}"
        )


def check_teacher(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Refuse a teacher that does not speak of the same examples and classes as each of the student's networks.

    Raises:
        ValueError: If ``student_logits`` is not ``(..., B, C)``, is empty, or ``teacher_logits`` does not fit.
    """
    student, teacher = student_logits.shape, teacher_logits.shape
    if len(student) < 2 or 0 in student or not _fits(teacher, student):
        raise ValueError(
            "student_logits must have shape (..., B, C), none of them 0, and teacher_logits (B, C) or (..., B, C) with "
            "the same B and C and leading dimensions that broadcast to the student's, "
            f"got {_text(student)} and {_text(teacher)}"
        )


def prepare(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Inputs:
    """Bring what a soft loss is given into one precision and arrangement; nothing is checked here."""
    dtype, dim = compute_dtype(student_logits), class_dim(student_logits)
    student = arranged(cast(student_logits.detach(), dtype), dim)
    teacher = arranged(cast(teacher_logits.detach(), dtype), dim)
    return Inputs(student, teacher, cast(temperature, dtype) if isinstance(temperature, Tensor) else temperature, dim)


def _fits(teacher: torch.Size, student: torch.Size) -> bool:
    batch = student[-2:]
    if teacher == batch:
        return True
    extra = len(student) - len(teacher)
    return (
        teacher[-2:] == batch
        and extra >= 0
        and all(size in (1, wanted) for size, wanted in zip(teacher[:-2], student[extra:-2], strict=True))
    )


def _text(shape: torch.Size) -> str:
    return str(tuple(shape))
