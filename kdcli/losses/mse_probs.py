"""The soft term as a squared distance of distributions."""

from __future__ import annotations

from torch import Tensor

from kdcli.losses.graded import Graded, soft_loss
from kdcli.losses.inputs import Inputs
from kdcli.losses.softmax import Temperature, per_network


def mse_probs(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature = 1.0) -> Tensor:
    r"""Half the squared distance between the distributions of student and teacher, times :math:`T^2`.

    With :math:`q^T` and :math:`p^T` the softmax of the student's and the teacher's logits over ``T``, returns

    .. math:: \frac{T^2}{B} \sum_{b=1}^{B} \frac{1}{2} \| q^T_b - p^T_b \|^2

    An example on which the student is surely wrong counts little more than one on which it is wrong, and hardly pulls
    at its logits: what is minimised is what the root mean squared error of the probabilities measures.

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        temperature: ``T``, positive: a number, or a tensor of shape ``(...)`` with one value for each network.

    Returns:
        Tensor of shape ``(...)``: the mean over the batch of each network, computed in float32 (float64 for float64
        logits), in [0, T^2]. Zero where the distributions agree.

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> mse_probs(torch.tensor([[0.0, 0.0]]), torch.tensor([[100.0, 0.0]])).item()
        0.25

    Reference:
        Bucila, Caruana, Niculescu-Mizil. "Model compression", KDD 2006, whose nets minimise the squared error of the
        ensemble's probabilities.
    """
    return soft_loss(graded_distance_of_probs, student_logits, teacher_logits, temperature)


def graded_distance_of_probs(inputs: Inputs) -> Graded:
    r"""See :func:`mse_probs`; the gradient is :math:`T q^T (d - \langle q^T, d \rangle)` with :math:`d = q^T - p^T`."""
    temperature, column = inputs.temperature, per_network(inputs.temperature)
    q = (inputs.student / column).softmax(inputs.dim)
    difference = q - (inputs.teacher / column).softmax(inputs.dim)
    value = difference.square().sum((-2, -1)) * temperature * temperature / (2 * inputs.batch_size)
    along = (q * difference).sum(inputs.dim, keepdim=True)
    return Graded(value, q.mul_(difference.sub_(along)).mul_(column))
