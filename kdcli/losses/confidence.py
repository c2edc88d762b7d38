"""Cross-entropy in which each example weighs as much as the teacher is sure of it: a control of distillation."""

from __future__ import annotations

from torch import Tensor

from kdcli.losses.graded import Graded, differentiable
from kdcli.losses.hard import one_hot
from kdcli.losses.inputs import Inputs, check_labels, check_teacher, check_temperature, prepare
from kdcli.losses.softmax import Temperature, per_network


def confidence_weighted(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: Temperature = 1.0
) -> Tensor:
    r"""Cross-entropy with the labels, weighted by the teacher's greatest probability (CWTM).

    With :math:`w_b = \max_c \mathrm{softmax}(z_t / T)_{b,c}`, of whichever class, and the student at temperature 1,
    returns

    .. math:: - \sum_{b=1}^{B} \frac{w_b}{\sum_u w_u} \log \mathrm{softmax}(z_s)_{b, y_b}

    Nothing of what the teacher says of the other classes is left: what a student gains from this is the weighting of
    the examples alone.

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient, once differentiable.
        teacher_logits: Unnormalised scores, shape ``(B, C)`` or one that broadcasts to the student's over the leading
            dimensions. Detached here: no gradient flows to the teacher.
        labels: Class indices in ``[0, C)``, int64, shape ``(B,)``, or ``(..., B)`` where every network has its own.
        temperature: Of the teacher, :math:`T > 0`: a number, or a tensor of shape ``(...)`` with one for each network,
            whose values are not checked. The paper's is 1.

    Returns:
        Tensor of shape ``(...)``, in nats: the weighted mean over the batch of each network, computed in float32
        (float64 for float64 logits).

    Raises:
        ValueError: If the shapes do not fit, or a number ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[50.0, 0.0], [0.0, 0.0]])  # weights 1 and 1/2
        >>> student = torch.tensor([[0.0, 0.0], [3.0, 0.0]])  # cross-entropies 0.6931 and 3.0486
        >>> confidence_weighted(student, teacher, torch.tensor([0, 1]))
        tensor(1.4783)

    Reference:
        Furlanello et al. "Born-Again Neural Networks", section 3.2. arXiv:1805.04770.
    """
    check_teacher(student_logits, teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature, student_logits.shape[:-2])
    inputs = prepare(student_logits, teacher_logits, temperature)._replace(labels=labels)
    return differentiable(student_logits, graded_confidence(inputs), inputs.dim)


def graded_confidence(inputs: Inputs) -> Graded:
    """See :func:`confidence_weighted`; the gradient is ``softmax(z) - label``, weighted."""
    assert inputs.labels is not None
    said = (inputs.teacher / per_network(inputs.temperature)).softmax(inputs.dim)
    sure = said.amax(inputs.dim, keepdim=True)
    weight = sure / sure.mean((-2, -1), keepdim=True)
    log_probs = inputs.student.log_softmax(inputs.dim)
    target = one_hot(inputs.labels, inputs.student, inputs.dim)
    value = (log_probs * target).mul_(weight).sum((-2, -1)).div_(-inputs.batch_size)
    return Graded(value, log_probs.exp_().sub_(target).mul_(weight))
