"""A user's own soft term: a pure function of two sets of logits and a temperature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdcli.errors import UsageError
from kdcli.losses.graded import Graded, soft_loss
from kdcli.losses.inputs import Inputs
from kdcli.losses.softmax import Temperature, arranged

WHERE = "loss.target"
_TRIAL_EXAMPLES = 4
_TRIAL_TEMPERATURE = 2.0


@dataclass(frozen=True)
class OwnLoss:
    """A soft term that the user wrote; each network of a cohort is a call of its own.

    Args:
        target: What it is called.
        function: Of student logits ``(B, C)``, teacher logits ``(B, C)`` and the temperature, a tensor without
            dimensions; gives the mean over the batch, a tensor without dimensions.
        arguments: Further keyword arguments.
    """

    target: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Tensor:
        """See :class:`kdcli.losses.SoftLoss`."""
        return soft_loss(self.graded, student_logits, teacher_logits, temperature)

    def graded(self, inputs: Inputs) -> Graded:
        """The loss of each network, and its gradient."""
        logits = arranged(inputs.student, inputs.dim).detach().requires_grad_()
        teacher = arranged(inputs.teacher, inputs.dim).expand_as(logits)
        temperature = torch.as_tensor(inputs.temperature, device=logits.device, dtype=logits.dtype)
        with torch.enable_grad():
            value = self._values(logits, teacher, temperature.expand(logits.shape[:-2]))
            (gradient,) = torch.autograd.grad(value.sum(), logits, materialize_grads=True)
        return Graded(value.detach(), arranged(gradient * inputs.batch_size, inputs.dim))

    def _values(self, logits: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
        if logits.dim() == 2:
            return self._call(logits, teacher, temperature)
        parts = zip(logits, teacher, temperature, strict=True)
        return torch.stack([self._values(*part) for part in parts])

    def _call(self, logits: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
        try:
            value = self.function(logits, teacher, temperature, **self.arguments)
        except Exception as error:
            raise self._refused(f"failed: {type(error).__name__}: {error}") from error
        if not isinstance(value, Tensor) or value.dim() != 0 or not value.is_floating_point():
            found = f"shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise self._refused(f"must return one number as a tensor, the mean over the batch, but returned {found}")
        return value

    def try_out(self, classes: int) -> None:
        """Call it once on random logits.

        Raises:
            UsageError: It fails, returns another thing than one finite number, or has no finite gradient.
        """
        draw = torch.Generator().manual_seed(0)
        student, teacher = (torch.randn(_TRIAL_EXAMPLES, classes, generator=draw) for _ in range(2))
        logits = student.clone().requires_grad_()
        with torch.enable_grad():
            value = self._call(logits, teacher, torch.tensor(_TRIAL_TEMPERATURE))
        if not value.requires_grad:
            raise self._refused("returned a number that does not depend on the student's logits: it has no gradient")
        (gradient,) = torch.autograd.grad(value, logits, materialize_grads=True)
        if not bool(value.isfinite()) or not bool(gradient.isfinite().all()):
            raise self._refused(f"is not finite on random logits: {value.item():g}, or its gradient is not")
        if not torch.equal(logits.detach(), student):
            raise self._refused("changed the logits that it was given")

    def _refused(self, what: str) -> UsageError:
        return UsageError(
            f"{self.target} {what}",
            where=WHERE,
            fix="it is called with student logits (B, C), teacher logits (B, C), the temperature and loss.arguments",
        )
