"""Temperature scaling: one number that makes a network's confidence fit its accuracy, its decisions untouched."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOW, _HIGH = 0.01, 100.0
_HALVINGS = 30


@torch.no_grad()
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature in [0.01, 100] by which ``logits`` are divided for the least negative log-likelihood.

    The loss is convex in the inverse temperature b: its slope, the mean of ``E_p[z] - z_label`` under
    ``p = softmax(b * z)``, grows with b, and its zero is found by halving.

    Args:
        logits: Unnormalised scores or log-probabilities, shape ``(N, C)``, N > 0.
        labels: Class indices, int64, shape ``(N,)``; better not those of the test set.

    Reference:
        Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    if len(logits) == 0:
        raise ValueError("no examples to fit a temperature on")
    scores = logits.double()
    given = scores.gather(1, labels[:, None]).mean()
    low, high = math.log(1 / _HIGH), math.log(1 / _LOW)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        probabilities = (math.exp(middle) * scores).softmax(1)
        if float((probabilities * scores).sum(1).mean() - given) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)
