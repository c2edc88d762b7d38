"""Layers that look beyond one example, made to act on the whole batch where a process has some of its rows only.

Dropout draws the noise of all rows, as one process would, and keeps that of its own; batch normalisation takes the
statistics of all rows. The names and tensors of a network stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from kdcli.engine.noise import global_noise_from
from kdcli.engine.ranks import Ranks
from kdcli.engine.whole_norm import WholeBatchNorm, WholeStackedNorm
from kdcli.errors import UsageError
from kdcli.models.dropout import Dropout, draw_mask
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NOISE = {
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.dropout.Dropout1d",
    "torch.nn.modules.dropout.Dropout2d",
    "torch.nn.modules.dropout.Dropout3d",
    "torchvision.ops.stochastic_depth.StochasticDepth",
}
"""Layers that multiply their input by noise from the global generator, drawn for each example."""


def act_on_whole(net: nn.Module, generator: Generator, ranks: Ranks) -> nn.Module:
    """Replace layers of a network, in place, where there are several processes.

    Raises:
        UsageError: It has a normalisation over the batch that is not torch's own.
    """
    if ranks.size > 1:
        for path, layer in list(net.named_modules(remove_duplicate=False)):
            replacement = _replacement(layer, generator, ranks)
            if replacement is not None:
                net.set_submodule(path, replacement)
    return net


def _replacement(layer: nn.Module, generator: Generator, ranks: Ranks) -> nn.Module | None:
    if isinstance(layer, Dropout):
        return WholeNoise(layer, ranks, nullcontext)
    if f"{type(layer).__module__}.{type(layer).__qualname__}" in _NOISE:
        return WholeNoise(layer, ranks, partial(global_noise_from, generator))
    if isinstance(layer, _BatchNorm) and type(layer) in _NORMS and layer.track_running_stats:
        return WholeBatchNorm(layer, ranks)
    if isinstance(layer, _BatchNorm) or (isinstance(layer, _NormBase) and layer.track_running_stats):
        raise UsageError(
            f"its {type(layer).__name__} normalises over the batch in a way that several processes cannot share",
            where="model",
            fix="train it in one process, without torchrun, or use nn.BatchNorm with running statistics",
        )
    return None


class WholeNoise(nn.Module):
    """A layer that multiplies by noise, which is drawn for the whole batch.

    Args:
        layer: The layer.
        ranks: The processes.
        source: Where it draws from.
    """

    def __init__(self, layer: nn.Module, ranks: Ranks, source: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self.layer = layer
        self._ranks, self._source = ranks, source

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with its rows' noise applied; same shape."""
        if not self.training or not self.layer.p:
            return x
        rows = self._ranks.rows
        if len(x) != rows.held.stop - rows.held.start:
            raise UsageError(
                f"a {type(self.layer).__name__} gets {tuple(x.shape)}, whose first dimension is not the examples",
                where="model",
                fix="train it in one process, without torchrun",
            )
        with self._source():
            noise: Tensor = self.layer(x.new_ones(rows.whole, *x.shape[1:]))
        return x * noise[rows.held]


class WholeStack(MlpStack):
    """A stack of networks that has some rows of every batch."""

    def __init__(self, nets: Sequence[Mlp], ranks: Ranks) -> None:
        super().__init__(nets)
        self.norm = nn.ModuleList([WholeStackedNorm(norm, ranks) for norm in self.norm])
        self._ranks = ranks

    def _drop(self, x: Tensor, p: float) -> Tensor:
        if not self.training or p == 0:
            return x
        rows = self._ranks.rows
        masks = x.new_empty(self.members, rows.whole, x.shape[-1])
        assert self.generators is not None
        for mask, generator in zip(masks, self.generators, strict=True):
            draw_mask(mask, p, generator)
        return x * masks[:, rows.held]


def stacked(nets: Sequence[Mlp], ranks: Ranks) -> MlpStack:
    """Networks as one stack, which has some rows of every batch where there are several processes."""
    return MlpStack(nets) if ranks.size == 1 else WholeStack(nets, ranks)
