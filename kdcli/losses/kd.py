"""The soft term of Hinton, Vinyals and Dean: the divergence of the student from the teacher at a temperature."""

from __future__ import annotations

from torch import Tensor

from kdcli.losses.graded import soft_loss
from kdcli.losses.softmax import Temperature
from kdcli.losses.targets import graded_kl


def soft_target_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Tensor:
    r"""Temperature-scaled KL divergence from the teacher's to the student's class distribution.

    With :math:`p^T = \mathrm{softmax}(z_t / T)` and :math:`q^T = \mathrm{softmax}(z_s / T)`, returns

    .. math:: T^2 \cdot \frac{1}{B} \sum_{b=1}^{B} \mathrm{KL}(p^T_b \,\|\, q^T_b)

    The factor :math:`T^2` keeps the gradient with respect to ``student_logits`` of the same order as that of the hard
    term when ``temperature`` changes (section 2 of the reference), so that a sweep over ``temperature`` does not also
    sweep the effective learning rate. The divergence is summed over the classes, never averaged over them.

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient, once differentiable.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        temperature: :math:`T > 0`, dimensionless: a number, or a tensor of shape ``(...)`` with one for each network,
            whose values are not checked. ``1.0`` is the plain softmax.

    Returns:
        Tensor of shape ``(...)``, in nats: the mean over the batch of each network, computed in float32 (float64 for
        float64 logits). Zero exactly when the two distributions agree.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> soft_target_kl(logits, logits, temperature=4.0).item()
        0.0

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network". arXiv:1503.02531.
    """
    return soft_loss(graded_kl, student_logits, teacher_logits, temperature)
