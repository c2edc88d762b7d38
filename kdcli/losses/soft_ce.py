"""The soft term as a cross-entropy with the teacher's soft targets."""

from __future__ import annotations

from torch import Tensor

from kdcli.losses.graded import soft_loss
from kdcli.losses.softmax import Temperature
from kdcli.losses.targets import graded_cross_entropy


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Tensor:
    r"""Temperature-scaled cross-entropy of the student with the teacher's class distribution.

    With :math:`p^T = \mathrm{softmax}(z_t / T)` and :math:`q^T = \mathrm{softmax}(z_s / T)`, returns

    .. math:: -T^2 \cdot \frac{1}{B} \sum_{b=1}^{B} \sum_{c=1}^{C} p^T_{bc} \log q^T_{bc}

    This is :func:`kdcli.losses.kd.soft_target_kl` plus :math:`T^2` times the teacher's entropy: the gradient is the
    same, the value never falls below that entropy. It is the objective as the reference states it.

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient, once differentiable.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        temperature: :math:`T > 0`, dimensionless: a number, or a tensor of shape ``(...)`` with one for each network,
            whose values are not checked.

    Returns:
        Tensor of shape ``(...)``, in nats: the mean over the batch of each network, computed in float32 (float64 for
        float64 logits). Smallest, at the teacher's entropy, when the two distributions agree.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> soft_cross_entropy(torch.zeros(1, 10), torch.zeros(1, 10), temperature=2.0)  # 4 log(10)
        tensor(9.2103)

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 2. arXiv:1503.02531.
    """
    return soft_loss(graded_cross_entropy, student_logits, teacher_logits, temperature)
