"""One set of teacher logits from the logits of an ensemble's members."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from kdcli.losses.inputs import cast, check_temperature, compute_dtype
from kdcli.losses.softmax import Temperature, arranged, class_dim, tempered_log_softmax

EnsembleMean: TypeAlias = Literal["arithmetic", "geometric"]
_MEANS = get_args(EnsembleMean)


def combine_members(member_logits: Tensor, temperature: Temperature, how: EnsembleMean) -> Tensor:
    r"""Logits of one network that says at ``temperature`` what the ensemble says.

    ``softmax(result / T)`` is, for ``arithmetic``, the mean over the members of :math:`\mathrm{softmax}(z_m / T)`:

    .. math:: T \log \frac{1}{M} \sum_{m=1}^{M} \mathrm{softmax}(z_m / T)

    and for ``geometric`` the normalised geometric mean of the same distributions, which is
    :math:`\mathrm{softmax}(\bar z / T)` with :math:`\bar z` the mean of the members' logits.

    Args:
        member_logits: Unnormalised scores of the ``M`` members, shape ``(M, B, C)``.
        temperature: :math:`T > 0`: a number, or a tensor of any shape ``(...)``, whose values are not checked. The
            arithmetic mean holds at this temperature only.
        how: ``"arithmetic"`` or ``"geometric"``.

    Returns:
        Logits in float32 (float64 for float64 logits). The arithmetic mean at a tensor of temperatures differs from
        one to the other and has shape ``(..., B, C)``; otherwise the shape is ``(B, C)``. One member's logits are
        returned as they are.

    Raises:
        ValueError: If ``member_logits`` is not ``(M, B, C)`` or is empty, ``how`` is unknown, or a number
            ``temperature`` is not positive and finite.

    Example:
        >>> import torch
        >>> certain = torch.tensor([[[100.0, 0.0]], [[0.0, 100.0]], [[0.0, 100.0]]])
        >>> combine_members(certain, 1.0, "arithmetic").softmax(-1)
        tensor([[0.3333, 0.6667]])

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", section 2. arXiv:1503.02531.
    """
    shape = tuple(member_logits.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"member_logits must have shape (M, B, C), none of them 0, got {shape}")
    if how not in _MEANS:
        raise ValueError(f"how must be one of {', '.join(_MEANS)}, got {how!r}")
    check_temperature(temperature)
    logits = cast(member_logits, compute_dtype(member_logits))
    if len(logits) == 1:
        return logits[0]
    return logits.mean(0) if how == "geometric" else _arithmetic(logits, temperature)


def combine_peers(logits: Tensor, temperature: Tensor, how: EnsembleMean) -> Tensor:
    """What the others say to each of several networks: :func:`combine_members` of all but itself.

    Args:
        logits: Unnormalised scores of ``K`` networks, shape ``(K, B, C)``.
        temperature: Of each network's soft term, shape ``(K,)``, whose values are not checked.
        how: ``"arithmetic"`` or ``"geometric"``.

    Returns:
        Logits ``(K, B, C)`` through which no gradient flows; of two networks, each has the other's.

    Raises:
        ValueError: If ``logits`` is not ``(K, B, C)`` with ``K`` at least 2.
    """
    if logits.dim() != 3 or len(logits) < 2:
        raise ValueError(f"logits must have shape (K, B, C) with K at least 2, got {tuple(logits.shape)}")
    said = logits.detach()
    others = [torch.cat([said[:k], said[k + 1 :]]) for k in range(len(said))]
    return torch.stack([combine_members(each, temperature[k], how) for k, each in enumerate(others)])


def _arithmetic(member_logits: Tensor, temperature: Temperature) -> Tensor:
    if not isinstance(temperature, Tensor):
        return temperature * _log_mean_softmax(member_logits, temperature)
    per_network = cast(temperature, member_logits.dtype)[..., None]
    return per_network[..., None] * _log_mean_softmax(member_logits, per_network)


def _log_mean_softmax(member_logits: Tensor, temperature: Temperature) -> Tensor:
    dim = class_dim(member_logits)
    said = tempered_log_softmax(arranged(member_logits, dim), temperature, dim).logsumexp(-3)
    return (said if dim == -1 else said.transpose(-1, -2)) - math.log(len(member_logits))
