"""What specialists minimise, for a cohort of them at once.

Shapes: K networks, B examples of each, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dustbin_cross_entropy(logits: Tensor, labels: Tensor, special: Tensor) -> Tensor:
    r"""Cross-entropy over the special classes and the dustbin, whose probability is that of all other classes together.

    .. math:: \log \sum_c e^{z_c} - \log \sum_{c \in t(y)} e^{z_c}

    where :math:`t(y)` is the label alone, if it is special, else all classes that are not.

    Args:
        logits: Shape ``(K, B, C)``.
        labels: Class indices, int64 ``(K, B)``.
        special: Which classes are special to each network, bool ``(K, C)``; of one that knows all it is the usual
            cross-entropy.

    Returns:
        The mean over each network's examples, shape ``(K,)``, in nats.
    """
    known = special.gather(1, labels)[..., None]
    label = torch.arange(logits.shape[-1], device=labels.device) == labels[..., None]
    meant = torch.where(known, label, ~special[:, None])
    return (logits.logsumexp(-1) - logits.masked_fill(~meant, -torch.inf).logsumexp(-1)).mean(-1)


def target_divergence(logits: Tensor, targets: Tensor, temperature: Tensor) -> Tensor:
    r""":math:`T^2 \, \mathrm{KL}(t \,\|\, \mathrm{softmax}(z / T))`, the mean over each network's examples.

    Args:
        logits: Shape ``(K, B, C)``.
        targets: Distributions at the temperature, shape ``(K, B, C)``; they may hold zeros.
        temperature: Of each network, shape ``(K,)``.

    Returns:
        Shape ``(K,)``, in nats.
    """
    log_q = (logits / temperature[:, None, None]).log_softmax(-1)
    divergence = (torch.xlogy(targets, targets) - targets * log_q).sum(-1).mean(-1)
    return temperature.square() * divergence
