"""The networks of a cohort behind one interface: stacked into one program where that is faster, else in turn.

Shapes: K networks, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from kdcli.engine.flat import FlatMlp, FlatStack, is_plain
from kdcli.engine.noise import draws_global_noise, global_noise_from, no_global_noise
from kdcli.engine.ranks import ALONE, Ranks
from kdcli.engine.whole import act_on_whole, stacked
from kdcli.models import placed
from kdcli.models.dropout import set_generator
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

STACKED_TENSOR_BYTES = 32 * 2**20
"""Ten networks of 800 units stack 1.1 times as fast as in turn on a CPU, ten of 1200 only 0.8 times."""


@dataclass(frozen=True)
class Parameters:
    """Parameters that one call of an optimizer updates: those of one network, or a stack of them.

    ``members`` are the networks they belong to, in the order of the first dimension where there are several; ``whole``
    is all of them as one tensor, where they lie in one buffer.
    """

    members: tuple[int, ...]
    tensors: tuple[nn.Parameter, ...]
    whole: nn.Parameter | None = None

    def share(self, position: int) -> tuple[Tensor, ...]:
        """The tensors of the network at ``position`` of a stack, as views."""
        return tuple(tensor[position] for tensor in self.tensors)


class Bank(Protocol):
    """K networks that see the same batch, or each its own."""

    size: int
    generators: list[torch.Generator]

    def logits(self, inputs: Tensor, *, own: bool = False) -> Tensor:
        """Logits ``(K, B, C)`` for ``inputs`` of shape ``(B, ...)``, or ``(K, B, ...)`` where ``own`` is true."""

    def backward(self, logits: Tensor, gradient: Tensor) -> None:
        """Give the parameters their gradients, from that of the last ``logits``."""

    def train(self, mode: bool) -> None:
        """Set all networks to training or to evaluation."""

    def parameters(self) -> list[Parameters]:
        """All trainable parameters, grouped as an optimizer can update them."""

    def state(self, member: int) -> dict[str, Tensor]:
        """One network's tensors under its own state_dict names, without copying."""

    def load(self, member: int, state: Mapping[str, Tensor]) -> None:
        """Copy tensors into one network."""

    def buffers(self, member: int) -> dict[str, Tensor]:
        """One network's tensors that no optimizer updates, such as running statistics, without copying."""

    def constrain(self) -> None:
        """Project the weights onto the constraints that their networks have, after an update."""


def make_bank(
    nets: Sequence[nn.Module],
    seeds: Sequence[int],
    device: torch.device,
    *,
    compiled: bool,
    ranks: Ranks = ALONE,
) -> Bank:
    """Put networks of one architecture together; each draws its dropout from its own generator.

    Args:
        nets: Networks that differ in nothing but their weights.
        seeds: One seed for each network's generator.
        device: Where they train.
        compiled: Whether to pass the forward pass through torch.compile.
        ranks: The processes, each of which has some rows of every batch.

    Raises:
        UsageError: Several processes cannot share a layer of theirs.
    """
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    moved = [placed(net, device) for net in nets]
    mlps = [net for net in moved if isinstance(net, Mlp)]
    if len(nets) > 1 and len(mlps) == len(nets) and _stacks_faster(mlps, device):
        plain = not compiled and all(map(is_plain, mlps)) and len(mlps[0].hidden) > 0
        return StackedBank(stacked(mlps, ranks).to(device), generators, compiled=compiled, plain=plain)
    noise = [_noise_around(net, generator, ranks) for net, generator in zip(moved, generators, strict=True)]
    parted = [act_on_whole(net, generator, ranks) for net, generator in zip(moved, generators, strict=True)]
    return InTurnBank(parted, generators, noise, compiled=compiled)


def _noise_around(
    net: nn.Module, generator: torch.Generator, ranks: Ranks
) -> Callable[[], AbstractContextManager[None]]:
    """Where a network's forward pass gets the noise that its own layers do not draw from its generator."""
    if not draws_global_noise(net):
        return nullcontext
    return partial(global_noise_from, generator) if ranks.size == 1 else partial(no_global_noise, generator.device)


def _stacks_faster(nets: Sequence[Mlp], device: torch.device) -> bool:
    """Whether a stack beats its members in turn: on a CPU not once a gradient outgrows what is cheap to allocate."""
    largest = max(parameter.numel() for parameter in nets[0].parameters())
    return device.type != "cpu" or len(nets) * largest * 4 <= STACKED_TENSOR_BYTES


class StackedBank:
    """Fully connected networks as one program: their first layer is one wide matrix product."""

    def __init__(self, stack: MlpStack, generators: list[torch.Generator], *, compiled: bool, plain: bool) -> None:
        self.size = len(generators)
        self.generators = generators
        self._stack = stack
        self._flat = FlatStack(stack) if plain else None
        stack.generators = generators
        self._forward = torch.compile(stack) if compiled else stack

    def logits(self, inputs: Tensor, *, own: bool = False) -> Tensor:
        """See Bank."""
        if self._flat is not None and self._stack.training:
            return self._flat.logits(inputs, own=own)
        result: Tensor = self._forward(inputs, own=own)
        return result

    def backward(self, logits: Tensor, gradient: Tensor) -> None:
        """See Bank."""
        if self._flat is None:
            logits.backward(gradient)
        else:
            self._flat.backward(gradient)

    def train(self, mode: bool) -> None:
        """See Bank."""
        self._stack.train(mode)

    def parameters(self) -> list[Parameters]:
        """See Bank."""
        whole = None if self._flat is None else self._flat.leaf
        return [Parameters(tuple(range(self.size)), tuple(self._stack.parameters()), whole)]

    def state(self, member: int) -> dict[str, Tensor]:
        """See Bank."""
        return self._stack.member_state(member)

    def load(self, member: int, state: Mapping[str, Tensor]) -> None:
        """See Bank."""
        self._stack.load_member_state(member, state)

    def buffers(self, member: int) -> dict[str, Tensor]:
        """See Bank."""
        return {name: tensor[member] for name, tensor in self._stack.named_buffers()}

    def constrain(self) -> None:
        """See Bank."""
        self._stack.constrain()


class InTurnBank:
    """Networks of any kind, one after another on the same batch; one network alone is a bank of this kind."""

    def __init__(
        self,
        nets: list[nn.Module],
        generators: list[torch.Generator],
        noise: Sequence[Callable[[], AbstractContextManager[None]]],
        *,
        compiled: bool,
    ) -> None:
        self.size = len(nets)
        self.generators = generators
        self._nets = nets
        for net, generator in zip(nets, generators, strict=True):
            set_generator(net, generator)
        self._noise = noise
        flat = not compiled and all(map(is_plain, nets))
        self._flat = [FlatMlp(net) for net in nets if flat and isinstance(net, Mlp)]
        self._forwards = [torch.compile(net) if compiled else net for net in nets]
        self._bounded = [net for net in nets if isinstance(net, Mlp) and net.architecture.max_norm_squared is not None]

    def logits(self, inputs: Tensor, *, own: bool = False) -> Tensor:
        """See Bank."""
        every = [self._one(member, inputs[member] if own else inputs) for member in range(self.size)]
        return every[0].unsqueeze(0) if self.size == 1 else torch.stack(every)

    def backward(self, logits: Tensor, gradient: Tensor) -> None:
        """See Bank."""
        if self._flat:
            for flat, own in zip(self._flat, gradient.unbind(), strict=True):
                flat.backward(own)
        else:
            logits.backward(gradient)

    def _one(self, member: int, inputs: Tensor) -> Tensor:
        if self._flat and self._nets[member].training:
            return self._flat[member].logits(inputs)
        with self._noise[member]():
            result: Tensor = self._forwards[member](inputs)
        return result

    def train(self, mode: bool) -> None:
        """See Bank."""
        for net in self._nets:
            net.train(mode)

    def parameters(self) -> list[Parameters]:
        """See Bank."""
        wholes: list[nn.Parameter | None] = [flat.leaf for flat in self._flat] or [None] * self.size
        return [
            Parameters((member,), tuple(p for p in net.parameters() if p.requires_grad), whole)
            for member, (net, whole) in enumerate(zip(self._nets, wholes, strict=True))
        ]

    def state(self, member: int) -> dict[str, Tensor]:
        """See Bank."""
        return dict(self._nets[member].state_dict())

    def load(self, member: int, state: Mapping[str, Tensor]) -> None:
        """See Bank."""
        self._nets[member].load_state_dict(state)

    def buffers(self, member: int) -> dict[str, Tensor]:
        """See Bank."""
        return dict(self._nets[member].named_buffers())

    def constrain(self) -> None:
        """See Bank."""
        for net in self._bounded:
            net.constrain()
