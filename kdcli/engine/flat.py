"""Mlps whose parameters lie in one buffer, trained without autograd.

Between the matrix products of a small network most of a step is bookkeeping: a node for each operation, a gradient
allocated for each parameter, an update and a norm for each. Here the gradients are written where they stay, and the
optimizer sees one tensor.

Shapes: K networks, B examples, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack


def is_plain(net: nn.Module) -> bool:
    """Whether a network is an Mlp of nothing but Linear layers and ReLUs, on a CPU."""
    if not isinstance(net, Mlp):
        return False
    more = net.architecture.batch_norm or net.architecture.dropout or net.architecture.input_dropout
    return not more and all(p.is_cpu and p.requires_grad for p in net.parameters())


class _Layer(NamedTuple):
    """A Linear layer, or K of them, as views of the buffers: weights and biases, and their gradients."""

    weight: Tensor
    bias: Tensor
    weight_grad: Tensor
    bias_grad: Tensor


class _Buffers:
    """A module's parameters in one tensor, and their gradients in another; the module's own become views."""

    def __init__(self, module: nn.Module) -> None:
        self._parameters = list(module.parameters())
        self.leaf = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))
        self._grad = torch.zeros_like(self.leaf.detach())
        values, self._grads = self._views(self.leaf.detach()), self._views(self._grad)
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data = value
        pairs = range(0, len(values), 2)
        self.layers = [_Layer(*values[i : i + 2], *self._grads[i : i + 2]) for i in pairs]

    def _views(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split([parameter.numel() for parameter in self._parameters])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self._parameters, strict=True)]

    def hand_over(self) -> None:
        """Say that the gradients are there."""
        self.leaf.grad = self._grad
        for parameter, grad in zip(self._parameters, self._grads, strict=True):
            parameter.grad = grad


class FlatMlp:
    """One Mlp in training.

    Args:
        net: Plain, see :func:`is_plain`. It stays usable as it was.
    """

    def __init__(self, net: Mlp) -> None:
        self._buffers = _Buffers(net)
        self._seen: list[Tensor] = []  # what went into each layer

    @property
    def leaf(self) -> nn.Parameter:
        """All parameters as one."""
        return self._buffers.leaf

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(B, C)`` of a batch, to which the next :meth:`backward` refers.

        Their memory has the classes first, over which the losses of a few classes are faster: see
        :func:`kdcli.losses.softmax.class_dim`.
        """
        *hidden, last = self._buffers.layers
        self._seen = [inputs.flatten(1)]
        for layer in hidden:
            self._seen.append(torch.addmm(layer.bias, self._seen[-1], layer.weight.t()).relu_())
        return torch.addmm(last.bias.unsqueeze(1), last.weight, self._seen[-1].t()).t()

    def backward(self, grad: Tensor) -> None:
        """Give the parameters their gradient, from that of the logits ``(B, C)``."""
        layers = self._buffers.layers
        for number in range(len(layers) - 1, -1, -1):
            layer, seen = layers[number], self._seen[number]
            torch.mm(grad.t(), seen, out=layer.weight_grad)
            torch.sum(grad, 0, out=layer.bias_grad)
            if number:
                grad = torch.ops.aten.threshold_backward(torch.mm(grad, layer.weight), seen, 0)
        self._buffers.hand_over()


class FlatStack:
    """K Mlps of one architecture in training on the same batches.

    Where they share a batch, the first layer is one wide matrix product, whose result is kept as it comes,
    ``(B, K * units)``; ``(K, B, units)`` is a view of it.

    Args:
        stack: Of networks that are plain, see :func:`is_plain`. It stays usable as it was.
    """

    def __init__(self, stack: MlpStack) -> None:
        self._buffers = _Buffers(stack)
        self._size = stack.members
        self._seen: list[Tensor] = []

    @property
    def leaf(self) -> nn.Parameter:
        """All parameters as one."""
        return self._buffers.leaf

    def logits(self, inputs: Tensor, *, own: bool = False) -> Tensor:
        """Logits ``(K, B, C)`` of a batch ``(B, ...)`` that all share, or of each network's own, ``(K, B, ...)``.

        See :meth:`FlatMlp.logits`.
        """
        *hidden, last = self._buffers.layers
        self._seen = [inputs.flatten(2 if own else 1)]
        for layer in hidden:
            self._seen.append(self._into(layer, self._seen[-1]).relu_())
        return torch.baddbmm(last.bias.unsqueeze(-1), last.weight, self._seen[-1].mT).mT

    def _into(self, layer: _Layer, seen: Tensor) -> Tensor:
        """What goes into a layer's ReLUs, ``(K, B, units)``."""
        if seen.dim() == 3:
            return torch.baddbmm(layer.bias.unsqueeze(1), seen, layer.weight.mT)
        wide = torch.addmm(layer.bias.flatten(), seen, layer.weight.flatten(0, 1).t())
        return wide.view(len(seen), self._size, -1).transpose(0, 1)

    def backward(self, grad: Tensor) -> None:
        """Give the parameters their gradient, from that of the logits ``(K, B, C)``."""
        layers = self._buffers.layers
        for number in range(len(layers) - 1, -1, -1):
            layer, seen = layers[number], self._seen[number]
            torch.sum(grad, 1, out=layer.bias_grad)
            if seen.dim() == 2:
                torch.mm(grad.transpose(0, 1).flatten(1).t(), seen, out=layer.weight_grad.flatten(0, 1))
            else:
                torch.bmm(grad.mT, seen, out=layer.weight_grad)
            if number:
                below = torch.empty_like(seen)  # in the order of seen: that of the wide product, where it came from one
                through = torch.bmm(grad, layer.weight)
                grad = torch.ops.aten.threshold_backward.grad_input(through, seen, 0, grad_input=below)
        self._buffers.hand_over()
