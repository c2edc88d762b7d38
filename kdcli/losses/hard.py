"""The hard term: cross-entropy with the labels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from kdcli.losses.graded import Graded, differentiable
from kdcli.losses.inputs import cast, check_labels, compute_dtype
from kdcli.losses.softmax import arranged, class_dim, per_network

NEVER = -(2**63)  # torch would leave out examples labelled -100 without a word
MANY = 1000


def cross_entropy(student_logits: Tensor, labels: Tensor, label_smoothing: float | Tensor = 0.0) -> Tensor:
    r"""Cross-entropy of the student's class distribution with the labels, at temperature 1.

    .. math:: -\frac{1}{B} \sum_{b=1}^{B} \sum_{c=1}^{C}
        \left((1 - \varepsilon) [c = y_b] + \frac{\varepsilon}{C}\right) \log \mathrm{softmax}(z_b)_c

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient, once differentiable.
        labels: Class indices in ``[0, C)``, int64, shape ``(B,)``, or ``(..., B)`` where every network has its own.
        label_smoothing: :math:`\varepsilon` in ``[0, 1]``, the share of the target spread over all classes: a number,
            or a tensor of shape ``(...)`` with one for each network, whose values are not checked.

    Returns:
        Tensor of shape ``(...)``, in nats: the mean over the batch of each network, computed in float32 (float64 for
        float64 logits). 0 is reached only in the limit of certain, correct predictions and without smoothing.

    Raises:
        ValueError: If the shapes do not fit, or a number ``label_smoothing`` is outside ``[0, 1]``.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(3, 2, 10), torch.tensor([4, 7]))  # log(10) for each of three networks
        tensor([2.3026, 2.3026, 2.3026])

    Reference:
        Label smoothing: Szegedy et al. "Rethinking the Inception Architecture for Computer Vision", section 7.
    """
    check_labels(student_logits, labels)
    if not isinstance(label_smoothing, Tensor) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    leading, dtype, dim = student_logits.shape[:-2], compute_dtype(student_logits), class_dim(student_logits)
    if leading.numel() == 1 and _is_plain(label_smoothing) and (dim == -1 or student_logits.numel() <= MANY):
        # The one case in which torch's own is as fast.
        flat = cast(student_logits, dtype).flatten(0, -2)
        return functional.cross_entropy(flat, labels.flatten(), ignore_index=NEVER).view(leading)
    student = arranged(cast(student_logits.detach(), dtype), dim)
    return differentiable(student_logits, graded_hard(student, labels, label_smoothing, dim), dim)


def graded_hard(student: Tensor, labels: Tensor, label_smoothing: float | Tensor, dim: int) -> Graded:
    """:func:`cross_entropy` of logits whose classes are at ``dim``; the gradient is ``softmax(z) - target``."""
    log_probs = student.log_softmax(dim)
    target = smoothed(one_hot(labels, student, dim), label_smoothing, dim)
    value = (log_probs * target).sum((-2, -1)).div_(-labels.shape[-1])
    return Graded(value, log_probs.exp_().sub_(target))


def smoothed(target: Tensor, label_smoothing: float | Tensor, dim: int) -> Tensor:
    """Distributions with a share of them spread over all classes, which are at ``dim``."""
    if _is_plain(label_smoothing):
        return target
    share = per_network(label_smoothing)
    return (1 - share) * target + share / target.shape[dim]


def one_hot(labels: Tensor, logits: Tensor, dim: int) -> Tensor:
    """The labels as distributions, arranged like logits whose classes are at ``dim``."""
    if dim == -1:
        zeros = logits.new_zeros(*labels.shape, logits.shape[-1])
        return zeros.scatter_(-1, labels.unsqueeze(-1), 1.0)
    identity = _identity(logits.shape[-2], logits.dtype)
    if labels.dim() == 1:
        return identity.index_select(1, labels)
    return identity.index_select(1, labels.flatten()).view(-1, *labels.shape).movedim(0, -2)


@cache
def _identity(num_classes: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(num_classes, dtype=dtype, device="cpu")


def _is_plain(label_smoothing: float | Tensor) -> bool:
    return not isinstance(label_smoothing, Tensor) and label_smoothing == 0
