"""An Mlp whose parameters lie in one buffer, trained without autograd.

Between the matrix products of a small network most of a step is bookkeeping: a node for each operation, a gradient
allocated for each parameter, an update and a norm for each. Here the gradients are written where they stay, and the
optimizer sees one tensor.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdcli.models.mlp import Mlp


class _Layer(NamedTuple):
    """A Linear layer as views of the buffers: weights and biases, and their gradients."""

    weight: Tensor
    bias: Tensor
    weight_grad: Tensor
    bias_grad: Tensor


class FlatMlp:
    """One Mlp in training. The network stays usable as it was: its parameters become views.

    Args:
        net: Without dropout and batch normalisation, see :meth:`fits`; its parameters are moved into one buffer.
    """

    def __init__(self, net: Mlp) -> None:
        parameters = list(net.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        self.leaf = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self._grad = torch.zeros_like(self.leaf.detach())
        values, grads = (
            [piece.view_as(parameter) for piece, parameter in zip(flat.split(sizes), parameters, strict=True)]
            for flat in (self.leaf.detach(), self._grad)
        )
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        pairs = range(0, len(parameters), 2)
        self._seen: list[Tensor] = []  # what went into each layer
        self._layers = [_Layer(values[i], values[i + 1], grads[i], grads[i + 1]) for i in pairs]

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Whether a network is nothing but Linear layers and ReLUs, on a CPU."""
        if not isinstance(net, Mlp):
            return False
        plain = not (net.architecture.batch_norm or net.architecture.dropout or net.architecture.input_dropout)
        return plain and all(p.is_cpu and p.requires_grad for p in net.parameters())

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of a batch, to which the next :meth:`backward` refers; their memory has the classes
        first, over which the losses of a few classes are faster: see :func:`kdcli.losses.softmax.class_dim`.
        """
        self._seen = [inputs.flatten(1)]
        for layer in self._layers[:-1]:
            self._seen.append(torch.addmm(layer.bias, self._seen[-1], layer.weight.t()).relu_())
        last = self._layers[-1]
        return torch.addmm(last.bias.unsqueeze(1), last.weight, self._seen[-1].t()).t()

    def backward(self, grad: Tensor) -> None:
        """Give ``leaf`` its gradient, from that of the logits ``(B, classes)``."""
        for number in range(len(self._layers) - 1, -1, -1):
            layer, seen = self._layers[number], self._seen[number]
            torch.mm(grad.t(), seen, out=layer.weight_grad)
            torch.sum(grad, 0, out=layer.bias_grad)
            if number:
                grad = torch.ops.aten.threshold_backward(torch.mm(grad, layer.weight), seen, 0)
        self.leaf.grad = self._grad
