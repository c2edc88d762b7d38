"""The hard term: cross-entropy with the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdcli.losses.inputs import cast, check_labels, compute_dtype
from kdcli.losses.softmax import has_many_short_rows
from kdcli.losses.targets import target_cross_entropy

NEVER = -(2**63)  # torch would leave out examples labelled -100 without a word


def cross_entropy(student_logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    r"""Cross-entropy of the student's class distribution with the labels, at temperature 1.

    .. math:: -\frac{1}{B} \sum_{b=1}^{B} \sum_{c=1}^{C}
        \left((1 - \varepsilon) [c = y_b] + \frac{\varepsilon}{C}\right) \log \mathrm{softmax}(z_b)_c

    Args:
        student_logits: Unnormalised scores, shape ``(..., B, C)``. Receives the gradient.
        labels: Class indices in ``[0, C)``, int64, shape ``(B,)``, the same for every network.
        label_smoothing: :math:`\varepsilon` in ``[0, 1]``, the share of the target spread over all classes.

    Returns:
        Tensor of shape ``(...)``, in nats: the mean over the batch of each network, computed in float32 (float64 for
        float64 logits). 0 is reached only in the limit of certain, correct predictions and without smoothing.

    Raises:
        ValueError: If the shapes do not fit, or ``label_smoothing`` is outside ``[0, 1]``.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(3, 2, 10), torch.tensor([4, 7]))  # log(10) for each of three networks
        tensor([2.3026, 2.3026, 2.3026])

    Reference:
        Label smoothing: Szegedy et al. "Rethinking the Inception Architecture for Computer Vision", section 7.
    """
    check_labels(student_logits, labels)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    leading = student_logits.shape[:-2]
    logits = cast(student_logits, compute_dtype(student_logits))
    if leading.numel() == 1 and not label_smoothing and not has_many_short_rows(logits):
        # The one case in which torch's own is faster.
        return functional.cross_entropy(logits.flatten(0, -2), labels, ignore_index=NEVER).view(leading)
    return target_cross_entropy(logits, _targets(logits, labels, label_smoothing), 1.0)


def _targets(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """The label distributions, shape ``(B, C)``."""
    num_classes = logits.shape[-1]
    rest = label_smoothing / num_classes
    targets = logits.new_full(logits.shape[-2:], rest)
    return targets.scatter_(-1, labels[:, None], 1 - label_smoothing + rest)
