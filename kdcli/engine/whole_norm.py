"""Batch normalisation over the rows of all processes, with one exchange forwards and one backwards."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from kdcli.engine.ranks import Ranks, Rows

MOMENTUM, EPS = 0.1, 1e-5  # torch's own, which a stack of networks has


class WholeBatchNorm(_BatchNorm):
    """A batch normalisation with running statistics, with the tensors of ``norm``."""

    def __init__(self, norm: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self._ranks = ranks

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, ...)`` over all but its second dimension."""
        seen = self.num_batches_tracked
        assert self.running_mean is not None
        assert self.running_var is not None
        assert seen is not None
        running = self.running_mean, self.running_var
        if not self.training:
            return functional.batch_norm(input, *running, self.weight, self.bias, eps=self.eps)
        seen.add_(1)
        share = 1.0 / float(seen) if self.momentum is None else self.momentum
        return batch_norm(input, *running, self.weight, self.bias, share, self.eps, self._ranks)


class WholeStackedNorm(nn.Module):
    """The batch normalisations of a stack of networks, with the tensors of ``norm``, all ``(K, H)``."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        parameters = dict(norm.named_parameters())
        self.weight, self.bias = parameters["weight"], parameters["bias"]
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.training = norm.training
        self._ranks = ranks

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(K, B, H)`` over B, with the members folded into the channels."""
        folded = x.transpose(0, 1).flatten(1)
        tensors = self.running_mean.view(-1), self.running_var.view(-1), self.weight.flatten(), self.bias.flatten()
        if self.training:
            self.num_batches_tracked.add_(1)
            folded = batch_norm(folded, *tensors, MOMENTUM, EPS, self._ranks)
        else:
            folded = functional.batch_norm(folded, *tensors, eps=EPS)
        return folded.view(-1, *self.weight.shape).transpose(0, 1)


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    share: float,
    eps: float,
    ranks: Ranks,
) -> Tensor:
    """``functional.batch_norm`` in training, over the rows of all processes.

    Args:
        x: The rows of this process, shape ``(B, C, ...)``.
        running_mean: Shape ``(C,)``; ``share`` of it is replaced by the mean of the whole batch.
        running_var: The same, of the unbiased variance.
        weight: Shape ``(C,)``, or None.
        bias: Shape ``(C,)``, or None.
        share: In ``[0, 1]``.
        eps: Added to the variance.
        ranks: The processes.
    """
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, var, count = _statistics(values.detach(), ranks)
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), share)
        running_var.lerp_((var * (count / max(count - 1, 1))).to(running_var.dtype), share)
    normed: Tensor = _Normalise.apply(values, mean, (var + eps).rsqrt(), count, ranks)  # type: ignore[no-untyped-call]
    if weight is not None and bias is not None:
        normed = torch.addcmul(_broadcast(bias, x), normed, _broadcast(weight, x))
    return normed.to(x.dtype)


def _statistics(values: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of each channel over all processes, shape ``(C,)``, and how many numbers they are of.

    The processes' own are put together as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", equation 1.5.
    """
    dims = _reduced(values)
    table = values.new_zeros(ranks.size, 2, values.shape[1])
    table[ranks.rank, 0], table[ranks.rank, 1] = values.mean(dims), values.var(dims, correction=0)
    means, variances = ranks.sum(table).unbind(1)
    weights = _weights(ranks.rows.whole, ranks.size, values.device, values.dtype)
    mean = (weights * means).sum(0)
    var = (weights * (variances + (means - mean).square())).sum(0)
    return mean, var, ranks.rows.whole * (values[0, 0].numel() if values.dim() > 2 else 1)


@lru_cache
def _weights(whole: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Each process's share of a batch, shape ``(size, 1)``."""
    shares = [[Rows.of(whole, rank, size).weight] for rank in range(size)]
    return torch.tensor(shares, device=device, dtype=dtype)


class _Normalise(torch.autograd.Function):
    """``(x - mean) * scale``, where the mean and the scale are of the whole batch and depend on ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, count: int, ranks: Ranks) -> Tensor:
        ctx.save_for_backward(x, mean, scale)
        ctx.count, ctx.ranks, ctx.counts = count, ranks, ranks.rows.count > 0
        return (x - _broadcast(mean, x)) * _broadcast(scale, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, mean, scale = ctx.saved_tensors
        normed = (x - _broadcast(mean, x)) * _broadcast(scale, x)
        dims = _reduced(x)
        sums = ctx.ranks.sum(torch.stack([grad.sum(dims), (grad * normed).sum(dims)])) / ctx.count
        inner = grad - _broadcast(sums[0], x) - normed * _broadcast(sums[1], x)
        # A row that counts for nothing is no part of the statistics, and its own gradient is 0 already.
        return inner * _broadcast(scale, x) * ctx.counts, None, None, None, None


def _reduced(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _broadcast(channels: Tensor, like: Tensor) -> Tensor:
    return channels.view(-1, *[1] * (like.dim() - 2))
