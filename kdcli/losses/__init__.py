"""The terms of the objective, as pure functions on the logits of a cohort of networks.

``total = (1 - alpha) * hard + alpha * soft``: the hard term is :func:`cross_entropy`, the soft term one of
:data:`SOFT_LOSSES`. Student logits have shape ``(..., B, C)``, the result has shape ``(...)``: one loss a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from kdcli.losses.combine import EnsembleMean, combine_members, combine_peers
from kdcli.losses.confidence import confidence_weighted, graded_confidence
from kdcli.losses.graded import Graded
from kdcli.losses.hard import cross_entropy
from kdcli.losses.inputs import Inputs
from kdcli.losses.kd import soft_target_kl
from kdcli.losses.mse_logits import graded_distance, mse_logits
from kdcli.losses.mse_probs import graded_distance_of_probs, mse_probs
from kdcli.losses.permuted import permute_others
from kdcli.losses.soft_ce import soft_cross_entropy
from kdcli.losses.softmax import Temperature
from kdcli.losses.targets import graded_cross_entropy, graded_kl

__all__ = [
    "GRADED_SOFT_LOSSES",
    "LABELLED_SOFT_LOSSES",
    "SOFT_LOSSES",
    "EnsembleMean",
    "SoftLoss",
    "Temperature",
    "combine_members",
    "combine_peers",
    "confidence_weighted",
    "cross_entropy",
    "mse_logits",
    "mse_probs",
    "permute_others",
    "soft_cross_entropy",
    "soft_target_kl",
]


class SoftLoss(Protocol):
    """Distance of the students from the teacher, one number for each student."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Tensor:
        """The mean over the batch, shape ``(...)`` for student logits ``(..., B, C)``."""
        ...


SOFT_LOSSES: Mapping[str, SoftLoss] = MappingProxyType(
    {
        "kd": soft_target_kl,
        "soft_ce": soft_cross_entropy,
        "mse_logits": mse_logits,
        "mse_probs": mse_probs,
        "dkpp": soft_target_kl,  # the teacher's answers are permuted before they come here
        "mutual": soft_target_kl,  # the other networks' answers take the teacher's place
    }
)
GRADED_SOFT_LOSSES: Mapping[str, Callable[[Inputs], Graded]] = MappingProxyType(
    {
        "kd": graded_kl,
        "soft_ce": graded_cross_entropy,
        "mse_logits": graded_distance,
        "mse_probs": graded_distance_of_probs,
        "dkpp": graded_kl,
        "mutual": graded_kl,
        "cwtm": graded_confidence,
    }
)
LABELLED_SOFT_LOSSES = frozenset({"cwtm"})
"""Soft terms that look at labels, whatever their weight."""
