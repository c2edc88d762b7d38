"""Several Mlps of one architecture as one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdcli.models.dropout import draw_mask
from kdcli.models.mlp import Mlp, bound_incoming_weights

# K members, B examples, H units of a hidden layer, D inputs.


class MlpStack(nn.Module):
    """K :class:`~kdcli.models.mlp.Mlp` of one architecture, evaluated and trained together on the same batches.

    Every parameter and buffer carries Mlp's own name and has the members as its first dimension. The members stay
    independent: each has the outputs, gradients and running statistics that it would have alone, within rounding.

    ``generators`` holds one generator a member, from which its dropout masks are drawn as the single Mlp draws them:
    from the same state come bit-the-same masks. None draws them all from the global generator.

    Args:
        nets: The members, on one device; their weights are copied.

    Raises:
        ValueError: If there are no members, or their architectures differ.
    """

    def __init__(self, nets: Sequence[Mlp]) -> None:
        super().__init__()
        architectures = {net.architecture for net in nets}
        if len(architectures) != 1:
            raise ValueError(f"a stack needs members of one architecture, got {sorted(map(str, architectures))}")
        self.architecture = architectures.pop()
        self.members = len(nets)
        self.generators: list[torch.Generator] | None = None
        states = [net.state_dict() for net in nets]
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        layers = range(len(self.architecture.hidden))
        norms = layers if self.architecture.batch_norm else ()
        self.hidden = nn.ModuleList([_StackedLinear(_below(stacked, f"hidden.{i}.")) for i in layers])
        self.norm = nn.ModuleList([_StackedBatchNorm(_below(stacked, f"norm.{i}.")) for i in norms])
        self.output = _StackedLinear(_below(stacked, "output."))
        self.train(nets[0].training)

    def forward(self, inputs: Tensor, *, own: bool = False) -> Tensor:
        """Logits ``(K, B, classes)`` of one batch for all members, or of each member's own.

        Args:
            inputs: Shape ``(B, ...)``, or ``(K, B, ...)`` where ``own`` is true; trailing dimensions are flattened.
            own: Whether every member has a batch of its own.
        """
        x = self._drop(inputs.flatten(2 if own else 1), self.architecture.input_dropout)
        for i, layer in enumerate(self.hidden):
            x = layer(x)
            if len(self.norm):
                x = self.norm[i](x)
            x = self._drop(x.relu(), self.architecture.dropout)
        logits: Tensor = self.output(x)
        return logits

    def _drop(self, x: Tensor, p: float) -> Tensor:
        """Mask ``x`` ``(K, B, H)`` or, shared by the members, ``(B, D)``; the result of a mask is ``(K, B, ...)``."""
        if not self.training or p == 0:
            return x
        generators = self.generators if self.generators is not None else [None] * self.members
        masks = x.new_empty(self.members, *x.shape[-2:])
        for mask, generator in zip(masks, generators, strict=True):
            draw_mask(mask, p, generator)
        return x * masks

    @torch.no_grad()
    def constrain(self) -> None:
        """Bound each hidden unit's incoming weights, as :meth:`Mlp.constrain` does."""
        bound = self.architecture.max_norm_squared
        if bound is None:
            return
        for layer in self.hidden:
            assert isinstance(layer, _StackedLinear)
            bound_incoming_weights(layer.weight, bound)

    def member_state(self, member: int) -> dict[str, Tensor]:
        """The ``state_dict`` of one Mlp: views of this stack's memory, not copies."""
        return {name: tensor[member] for name, tensor in self.state_dict().items()}

    @torch.no_grad()
    def load_member_state(self, member: int, state: Mapping[str, Tensor]) -> None:
        """Copy the ``state_dict`` of one Mlp into a member.

        Raises:
            ValueError: If the names or shapes are not those of the architecture; nothing is copied then.
        """
        own = self.member_state(member)
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if given != shapes:
            differing = sorted(name for name, _ in given.items() ^ shapes.items())
            raise ValueError(f"the state does not fit {self.architecture}: {', '.join(dict.fromkeys(differing))}")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def member_parameters(self, member: int) -> list[Tensor]:
        """Detached views of one member's parameters, in the order of ``Mlp.parameters()``."""
        return [parameter.detach()[member] for parameter in self.parameters()]


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


class _StackedLinear(nn.Module):
    """K Linear layers: ``weight`` ``(K, out, in)``, ``bias`` ``(K, out)``."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(state["weight"])
        self.bias = nn.Parameter(state["bias"])

    def forward(self, x: Tensor) -> Tensor:
        """``(K, B, out)`` from each member's own ``(K, B, in)`` or from one shared ``(B, in)``."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if torch.is_autocast_enabled(x.device.type):  # an autograd.Function has to see to that by itself
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        if x.dim() == 3:
            own: Tensor = _MemberwiseLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
            return own
        wide = functional.linear(x, weight.flatten(0, 1), bias.flatten())
        # Left as a strided view: copying it into (K, B, out) order costs more than the next product gains.
        return wide.view(-1, *self.bias.shape).transpose(0, 1)


class _MemberwiseLinear(torch.autograd.Function):
    """``x @ weight^T + bias`` for each member.

    Autograd's own gradient of ``weight^T`` has the transposed layout and is copied before it is accumulated; computing
    ``grad^T @ x`` directly saves a tenth of a training step with 300 units.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``(K, B, out)`` from ``(K, B, in)``, ``(K, out, in)`` and ``(K, out)``."""
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients of ``x`` (None where it is data, as behind input dropout), ``weight`` and ``bias``."""
        x, weight = ctx.saved_tensors
        grad_x = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return grad_x, torch.bmm(grad.transpose(1, 2), x), grad.sum(1)


class _StackedBatchNorm(nn.Module):
    """K BatchNorm1d layers: all tensors ``(K, H)``, but ``num_batches_tracked`` ``(K,)``."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(state["weight"])
        self.bias = nn.Parameter(state["bias"])
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, state[name])

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(K, B, H)`` over B, with the members folded into the channels."""
        if self.training:
            self.num_batches_tracked.add_(1)
        folded = functional.batch_norm(
            x.transpose(0, 1).flatten(1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.flatten(),
            self.bias.flatten(),
            training=self.training,
        )
        return folded.view(-1, *self.weight.shape).transpose(0, 1)
