"""What one network of a cohort answers for: its special classes and a dustbin, or all classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kdcli.metrics import Measures, measure
from kdcli.specialists.dustbin import aggregate, outputs_of


@dataclass(frozen=True)
class Scope:
    """The terms in which a network that has an output for every class is trained and measured.

    Args:
        num_classes: C.
        special: The classes that a specialist knows, sorted; None for the generalist that trains on beside it, which
            knows all and has no dustbin.
    """

    num_classes: int
    special: tuple[int, ...] | None

    def terms(self, log_probs: Tensor) -> Tensor:
        """Log-probabilities ``(..., C)`` as ``(..., 1 + S)``: the dustbin's and those of the special classes."""
        return log_probs if self.special is None else aggregate(log_probs, self.special)

    def outputs(self, labels: Tensor) -> Tensor:
        """Class indices ``(N,)`` as indices into :meth:`terms`."""
        return labels if self.special is None else outputs_of(self.special, self.num_classes).to(labels.device)[labels]

    def measure(self, logits: Tensor, labels: Tensor, teacher_log_probs: Tensor | None) -> Measures:
        """What the network is worth in its own terms.

        Args:
            logits: Of all classes, shape ``(N, C)``.
            labels: Class indices, shape ``(N,)``.
            teacher_log_probs: The generalist's, shape ``(N, C)``, if it is to be compared with.
        """
        teacher = None if teacher_log_probs is None else self.terms(teacher_log_probs)
        return measure(self.terms(logits.log_softmax(-1)), self.outputs(labels), teacher)
