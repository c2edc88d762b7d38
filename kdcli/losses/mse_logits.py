"""The soft term as a squared distance of logits."""

from __future__ import annotations

from torch import Tensor

from kdcli.losses.graded import Graded, soft_loss
from kdcli.losses.inputs import Inputs
from kdcli.losses.softmax import Temperature


def mse_logits(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature = 1.0) -> Tensor:
    r"""Half the squared distance between the centred logits of student and teacher.

    With :math:`\bar z` the mean of :math:`z` over its ``C`` classes, returns

    .. math:: \frac{1}{B} \sum_{b=1}^{B} \frac{1}{2} \| (z_s - \bar z_s)_b - (z_t - \bar z_t)_b \|^2

    Centring each example removes what a softmax does not see. The loss is ``C`` times what
    :func:`kdcli.losses.kd.soft_target_kl` tends to as its temperature grows (section 2.1 of the second reference).

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        temperature: Checked and otherwise unused: it is here so that all soft losses are called in one way.

    Returns:
        Tensor of shape ``(...)``, in squared logits: the mean over the batch of each network, computed in float32
        (float64 for float64 logits). Zero when the logits of every example differ by a constant.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> mse_logits(torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2)).item()
        1.0

    Reference:
        Ba, Caruana. "Do Deep Nets Really Need to be Deep?", equation 1. arXiv:1312.6184.
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 2.1. arXiv:1503.02531.
    """
    return soft_loss(graded_distance, student_logits, teacher_logits, temperature)


def graded_distance(inputs: Inputs) -> Graded:
    """See :func:`mse_logits`; the gradient is the centred difference."""
    difference = inputs.student - inputs.teacher
    centred = difference.sub_(difference.mean(inputs.dim, keepdim=True))
    return Graded(centred.square().sum((-2, -1)).div_(2 * inputs.batch_size), centred)
