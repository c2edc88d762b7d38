"""A generalist with its specialists, as one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kdcli.specialists.clusters import ClassSets
from kdcli.specialists.combine import TINY, active_specialists, combine
from kdcli.specialists.dustbin import aggregate


@dataclass(frozen=True)
class Council:
    """Who is asked about an example, and what comes of their answers.

    Args:
        sets: The special classes of each specialist.
        top: How many of the generalist's most probable classes choose the specialists to ask.
    """

    sets: ClassSets
    top: int

    def active(self, generalist: Tensor) -> Tensor:
        """Who is asked, bool ``(B, M)``, by the generalist's logits ``(B, C)``."""
        return active_specialists(generalist, self.sets, self.top)

    def log_probs(self, generalist: Tensor, specialists: Sequence[Tensor]) -> Tensor:
        """The combined distribution of :func:`kdcli.specialists.combine`, as log-probabilities.

        Args:
            generalist: Its logits, shape ``(B, C)``.
            specialists: Those of each specialist, an output for every class, shape ``(B, C)`` each.

        Returns:
            Shape ``(B, C)``, float64 and finite.
        """
        pairs = zip(specialists, self.sets, strict=True)
        said = [aggregate(logits.double().log_softmax(-1), special).exp() for logits, special in pairs]
        q = combine(generalist.double().softmax(-1), said, self.sets, self.active(generalist))
        return q.clamp_min(TINY).log()
