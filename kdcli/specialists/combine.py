"""One distribution over all classes from the generalist and the specialists that an example calls for.

Shapes: B examples, C classes, M specialists. Everything is computed in float64 on the device of the probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.specialists.clusters import ClassSets, membership
from kdcli.specialists.dustbin import DUSTBIN

TOLERANCE = 1e-10
MAX_STEPS = 10_000
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Evidence:
    """What the models say of each example, as :func:`fixed_point_step` reads it.

    Attributes:
        known: Per class, the generalist's probability plus those of the active specialists to which it is special,
            shape ``(B, C)``.
        dustbin: The dustbin's probability of each specialist, 0 where it is not active, shape ``(B, M)``.
        outside: 1 where a class is in a specialist's dustbin, else 0, shape ``(M, C)``.
    """

    known: Tensor
    dustbin: Tensor
    outside: Tensor

    def of(self, examples: Tensor) -> Evidence:
        """That of some of the examples, by their indices."""
        return Evidence(self.known[examples], self.dustbin[examples], self.outside)


def active_specialists(generalist: Tensor, sets: ClassSets, top: int = 1) -> Tensor:
    """The specialists that each example calls for: those to whom one of its most probable classes is special.

    Args:
        generalist: Its probabilities or logits, shape ``(B, C)``.
        sets: The special classes of each specialist.
        top: How many of the most probable classes count; a tie goes to the class of the smallest index.

    Returns:
        Bool, shape ``(B, M)``.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 5.4. arXiv:1503.02531.
    """
    likely = generalist.sort(dim=-1, descending=True, stable=True).indices[:, :top]
    special = membership(sets, generalist.shape[-1]).to(generalist.device)
    return special.T[likely].any(1)


def combine(generalist: Tensor, specialists: Sequence[Tensor], sets: ClassSets, active: Tensor) -> Tensor:
    r"""The distribution q over all classes that is closest to what the generalist and the active specialists say.

    It minimises, for each example,

    .. math:: \mathrm{KL}(p^g \,\|\, q) + \sum_{m \in A} \mathrm{KL}(p^m \,\|\, q)

    where :math:`p^m` is over m's classes and its dustbin, and q's probabilities of the classes in m's dustbin are
    summed. That is convex in q, and :func:`fixed_point_step` leads to its minimum without a step size. An example
    without an active specialist keeps :math:`q = p^g`; one with a single active specialist needs one step.

    Args:
        generalist: Its probabilities :math:`p^g`, shape ``(B, C)``.
        specialists: The probabilities of each specialist, corrected for its sampling, shape ``(B, 1 + S)`` with the
            dustbin first; outputs beyond those are not read.
        sets: The special classes of each specialist.
        active: Which specialists count for which example, bool ``(B, M)``.

    Returns:
        Probabilities, float64, shape ``(B, C)``.

    Raises:
        ValueError: If the shapes do not fit.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", equation 5, which the paper solves by
        gradient descent on the logits of q. arXiv:1503.02531.
    """
    evidence = gather_evidence(generalist, specialists, sets, active)
    q = generalist.double().clamp_min(TINY)  # a factor of 0 would stay 0, whatever a dustbin says
    moving = torch.arange(len(q), device=q.device)
    for _ in range(MAX_STEPS):
        before = q[moving]
        after = fixed_point_step(before, evidence.of(moving))
        q[moving] = after
        moving = moving[(after - before).abs().amax(1) > TOLERANCE]  # most examples stand after a few steps
        if not len(moving):
            break
    return q


def fixed_point_step(q: Tensor, evidence: Evidence) -> Tensor:
    r"""Share each dustbin's probability among its classes as q does, then let q be the mean of what is said.

    .. math:: q_c \leftarrow \frac{1}{1 + |A|} \Big( p^g_c + \sum_{m: c \in S^m} p^m_c
        + \sum_{m: c \notin S^m} p^m_{dustbin} \frac{q_c}{q(dustbin^m)} \Big)

    The sum of divergences never rises: by Jensen's inequality
    :math:`-\log q(dustbin) \le -\sum_c r_c \log (q_c / r_c)` for any shares r, with equality for those of the q before;
    that bound put in for every dustbin, the right side is minimised by the new q. (It is a step of EM.)

    Args:
        q: Positive probabilities, shape ``(B, C)``.
        evidence: Of the same examples.
    """
    # A dustbin that nobody believes in may have lost all of its probability: then it is 0 / TINY.
    mass = (q @ evidence.outside.T).clamp_min(TINY)
    said = evidence.known + q * ((evidence.dustbin / mass) @ evidence.outside)
    return said / said.sum(-1, keepdim=True)


def gather_evidence(generalist: Tensor, specialists: Sequence[Tensor], sets: ClassSets, active: Tensor) -> Evidence:
    """Everything the models say, per class where it is known and per dustbin where it is not; as :func:`combine`."""
    _check(generalist, specialists, sets, active)
    known, counts = generalist.double().clone(), active.double()
    for count, said, special in zip(counts.T, specialists, sets, strict=True):
        known[:, list(special)] += count[:, None] * said[:, 1 : 1 + len(special)].double()
    dustbins = [said[:, DUSTBIN].double() for said in specialists]
    outside = ~membership(sets, generalist.shape[1])
    return Evidence(known, torch.stack(dustbins, dim=1) * counts, outside.to(known))


def _check(generalist: Tensor, specialists: Sequence[Tensor], sets: ClassSets, active: Tensor) -> None:
    examples = len(generalist)
    wide_enough = len(specialists) == len(sets) and all(
        len(said) == examples and said.shape[1] > len(special) for said, special in zip(specialists, sets, strict=True)
    )
    if not wide_enough or active.shape != (examples, len(sets)):
        raise ValueError(
            f"{len(sets)} specialists of {[len(special) for special in sets]} classes do not fit probabilities "
            f"{[tuple(said.shape) for said in specialists]} and active {tuple(active.shape)} for {examples} examples"
        )
